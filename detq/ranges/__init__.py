"""Statistics to a range: what is represented, and what is clipped.

A range estimator is a pure function of a tensor's statistics and its grid. It is scale
equivariant: statistics of ``k x`` give ``k`` times the range.
"""

from collections.abc import Callable, Mapping

from detq.errors import CalibrationError
from detq.numerics import Grid
from detq.plan import Placement
from detq.ranges.minmax import minmax
from detq.stats import CalibrationStats, Range, TensorStats, merge

RangeEstimator = Callable[[TensorStats, Grid], Range]

ESTIMATORS: Mapping[str, RangeEstimator] = {
    "minmax": minmax,
}


def choose_ranges(
    stats: CalibrationStats, placement: Placement, method: str
) -> Mapping[str, Range]:
    """One range for every tie group, from the merged statistics of its members.

    Raises:
        CalibrationError: a member was not observed.
    """
    estimate = ESTIMATORS[method]
    ranges = {}
    for group, members in placement.groups.items():
        missing = [point.value for point in members if point.value not in stats.tensors]
        if missing:
            raise CalibrationError(
                "was not observed", where=missing[0], hint="calibrate again with this model"
            )
        total = stats.tensors[members[0].value]
        for point in members[1:]:
            total = merge(total, stats.tensors[point.value])
        ranges[group] = estimate(total, members[0].grid)
    return ranges
