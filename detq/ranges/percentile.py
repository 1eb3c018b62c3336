"""Percentile: a share of the values is clipped, whatever they are.

The threshold is the smallest edge t of the histogram with CDF(t) ≥ p / 100, where CDF is
that of |x| for a signed grid and of max(x, 0) for an unsigned one, zeros included: above the
exact percentile by less than a bin, 1/2048 of the largest magnitude.

A tensor may be zero so often that t = 0, which would lose all the rest. Then the percentile
is taken of the values that are not zero.
"""

import numpy as np

from detq.numerics import Grid
from detq.ranges.magnitudes import Magnitudes, clipped_at, magnitudes
from detq.recipe import Percentile
from detq.stats import Range, TensorStats


def percentile(stats: TensorStats, grid: Grid, options: Percentile) -> Range:
    """Values up to the percentile of their magnitude."""
    seen = magnitudes(stats, grid)
    zeros = stats.count - float(seen.counts.sum())
    rank = options.percent / 100 * stats.count - zeros
    if rank <= 0:
        return clipped_at(stats, magnitude_at(seen, options.percent / 100))
    return clipped_at(stats, _magnitude_of_rank(seen, rank))


def magnitude_at(seen: Magnitudes, share: float) -> float:
    """The smallest edge that a share of the values does not exceed; 0 if there are none."""
    return _magnitude_of_rank(seen, share * float(seen.counts.sum()))


def _magnitude_of_rank(seen: Magnitudes, rank: float) -> float:
    upto = np.cumsum(seen.counts)
    if not upto[-1]:
        return 0.0
    inside = min(int(np.searchsorted(upto, rank)), len(upto) - 1)
    return float(seen.edges[inside + 1])
