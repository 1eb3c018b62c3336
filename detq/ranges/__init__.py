"""Statistics to a range: what is represented, and what is clipped.

A range estimator is a pure function of a tensor's statistics and its grid. It is scale
equivariant: statistics of ``k x`` give ``k`` times the range.
"""

from collections.abc import Callable, Mapping

from detq.errors import CalibrationError
from detq.numerics import Grid
from detq.plan import Placement
from detq.ranges.minmax import minmax
from detq.stats import CalibrationStats, Range, TensorStats, tied

RangeEstimator = Callable[[TensorStats, Grid], Range]

ESTIMATORS: Mapping[str, RangeEstimator] = {
    "minmax": minmax,
}


def choose_ranges(
    stats: CalibrationStats, placement: Placement, estimate: RangeEstimator
) -> Mapping[str, Range]:
    """One range for every tie group, from the statistics of its members taken together.

    Raises:
        CalibrationError: a member was not observed.
    """
    ranges = {}
    for group, members in placement.groups.items():
        missing = [point.value for point in members if point.value not in stats.tensors]
        if missing:
            raise CalibrationError(
                "was not observed", where=missing[0], hint="calibrate again with this model"
            )
        seen = tied([stats.tensors[point.value] for point in members])
        ranges[group] = estimate(seen, members[0].grid)
    return ranges
