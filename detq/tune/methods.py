"""A range method for every tie group, by the noise that each of them passes on to the head."""

from collections.abc import Mapping
from glob import escape

import numpy as np

from detq.numerics import scale_from_range
from detq.plan import Placement, name_in_float
from detq.ranges import choose_ranges, estimator_from
from detq.recipe import Entropy, Kl, MinMax, Mse, Percentile, RangeMethod
from detq.stats import CalibrationStats
from detq.tune.records import Sensitivity

METHODS: Mapping[str, RangeMethod] = {
    "minmax": MinMax(),
    "percentile": Percentile(),
    "mse": Mse(),
    "entropy": Entropy(),
    "kl": Kl(),
}
LEAST_GAIN = 0.8  # of the noise that is left: what an estimate from one pass can tell


def scales_by_method(stats: CalibrationStats, placement: Placement) -> dict[str, dict[str, float]]:
    """Tie group → range method → the scale it gives.

    Raises:
        CalibrationError: a tensor was not observed.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in placement.groups}
    for method, options in METHODS.items():
        ranges = choose_ranges(stats, placement, estimator_from(options))
        for group, chosen in ranges.items():
            grid = placement.groups[group][0].grid
            largest = max(chosen.highest, -chosen.lowest) if grid.signed else chosen.highest
            found[group][method] = float(scale_from_range(np.asarray(largest, np.float64), grid))
    return found


def best_methods(found: Sensitivity) -> dict[str, RangeMethod]:
    """Pattern of each tie group that gains → the method that passes on least noise.

    Args:
        found: with ``by_method``; ``passed`` is that of the ranges which the file has.
    """
    chosen = {}
    for group in found.groups:
        if group.by_method:
            method = min(group.by_method, key=group.by_method.__getitem__)
            if group.by_method[method] < LEAST_GAIN * group.passed:
                chosen[escape(name_in_float(group.group))] = METHODS[method]
    return chosen
