"""The improved KL rule, published with coarse and fine weight splitting for RepVGG.

The histogram is that of the values after the activation, 2048 equal bins up to the largest;
zeros, which every scale represents, are left out. The divergence is a difference of
logarithms with both normalizers where they belong, and the clipped tail is in p
(:mod:`detq.ranges.divergence`, form ``exact``). ``published`` is the formula of the published
code, ``masked`` the exact one without bins where q = 0, for comparison. Of equals the larger
threshold is taken, and never one below the guard, a percentile of the values that are not
zero. There are 2^(b-1) levels with a sign, 2^b - 1 without.

A tensor with negative values has a threshold on each side, and the larger sets the scale.
"""

from detq.numerics import Grid
from detq.ranges.divergence import bins_to_keep
from detq.ranges.magnitudes import (
    Magnitudes,
    negative_magnitudes,
    positive_magnitudes,
    rebinned,
)
from detq.ranges.percentile import magnitude_at
from detq.recipe import Kl
from detq.stats import Range, TensorStats

BINS = 2048


def kl(stats: TensorStats, grid: Grid, options: Kl) -> Range:
    """The range with the least divergence on each side of zero."""
    highest = _threshold(positive_magnitudes(stats), grid, options)
    lowest = _threshold(negative_magnitudes(stats), grid, options) if grid.signed else 0.0
    return Range(-lowest, highest)


def _threshold(seen: Magnitudes, grid: Grid, options: Kl) -> float:
    if not seen.largest:
        return 0.0
    levels = grid.highest + int(grid.signed)
    kept = bins_to_keep(rebinned(seen, BINS), levels, options.divergence)
    threshold = kept * seen.largest / BINS
    return max(threshold, magnitude_at(seen, options.guard / 100))
