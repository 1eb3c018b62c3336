"""Statistics to a range: what is represented, and what is clipped.

A range estimator is a pure function of a tensor's statistics, its grid and the options of
its method. It is scale equivariant: statistics of ``k x`` give ``k`` times the range.
"""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from detq.errors import CalibrationError, RecipeError
from detq.numerics import Grid
from detq.plan import Placement, name_in_float
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
    stats: CalibrationStats,
    placement: Placement,
    estimate: RangeEstimator,
    groups: Mapping[str, RangeMethod] | None = None,
) -> Mapping[str, Range]:
    """One range for every tie group, from the statistics of its members taken together.

    Args:
        stats: of all points.
        placement: from ``place``.
        estimate: how a range follows from statistics.
        groups: pattern of tie group names, as the float network has them → method instead; the
            first that matches counts.

    Raises:
        CalibrationError: a member was not observed.
        RecipeError: a pattern matches no tensor that was observed.
    """
    own = {pattern: estimator_from(method) for pattern, method in (groups or {}).items()}
    _check_patterns(own, stats)
    ranges = {}
    for group, members in placement.groups.items():
        missing = [point.value for point in members if point.value not in stats.tensors]
        if missing:
            raise CalibrationError(
                "was not observed", where=missing[0], hint="calibrate again with this model"
            )
        seen = tied([stats.tensors[point.value] for point in members])
        name = name_in_float(group)
        chosen = (own[pattern] for pattern in own if fnmatchcase(name, pattern))
        ranges[group] = next(chosen, estimate)(seen, members[0].grid)
    return ranges


def _check_patterns(patterns: Mapping[str, object], stats: CalibrationStats) -> None:
    """Against all that was observed: which of it makes a group depends on the target."""
    names = [name_in_float(name) for name in stats.tensors]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            some = ", ".join(names[:3])
            raise RecipeError(
                f"pattern {pattern!r} matches no tensor",
                where="$.group_ranges",
                hint=f"tensors are called like {some}; detq quantize --explain lists the groups",
            )
