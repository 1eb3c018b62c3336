"""Statistics to a range: what is represented, and what is clipped.

A range estimator is a pure function of a tensor's statistics, its grid and the options of
its method. It is scale equivariant: statistics of ``k x`` give ``k`` times the range.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from detq.errors import CalibrationError
from detq.numerics import Grid
from detq.plan import Placement
from detq.ranges.entropy import entropy
from detq.ranges.kl import kl
from detq.ranges.minmax import minmax
from detq.ranges.mse import mse
from detq.ranges.percentile import percentile
from detq.recipe import RangeMethod
from detq.stats import CalibrationStats, Range, TensorStats, tied

RangeEstimator = Callable[[TensorStats, Grid], Range]

# Name in a recipe → estimator; its third argument is the recipe's struct of that name.
ESTIMATORS: Mapping[str, Callable[[TensorStats, Grid, Any], Range]] = {
    "entropy": entropy,
    "kl": kl,
    "minmax": minmax,
    "mse": mse,
    "percentile": percentile,
}


def estimator_from(method: RangeMethod) -> RangeEstimator:
    """The estimator that a recipe chose, with its options."""
    return partial(_estimate, ESTIMATORS[str(method.__struct_config__.tag)], method)


def _estimate(
    estimate: Callable[[TensorStats, Grid, Any], Range],
    options: RangeMethod,
    stats: TensorStats,
    grid: Grid,
) -> Range:
    return estimate(stats, grid, options)


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
