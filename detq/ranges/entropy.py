"""TensorRT's entropy rule: the threshold that keeps most of what the histogram tells.

The public description of 2017: |x| (for an unsigned grid, x above zero) in 2048 equal bins up
to the largest magnitude; for every number i of bins kept, from the number of levels on, the
divergence between the histogram with the clipped mass piled onto its last bin and the same
bins rounded to levels, where a bin with p > 0 = q rules a candidate out
(:mod:`detq.ranges.divergence`, form ``strict``). The threshold is (i + ½) bins for the best
i, and the larger one of equals. There are 2^(b-1) levels with a sign, 2^b without.

After a ReLU, zeros fill the first bin and would decide alone. NVIDIA's own calibrator for
PyTorch puts the count of the second bin there; ``count_zeros`` leaves it as counted.
"""

from detq.numerics import Grid
from detq.ranges.divergence import bins_to_keep
from detq.ranges.magnitudes import clipped_at, magnitudes, rebinned
from detq.recipe import Entropy
from detq.stats import Range, TensorStats

BINS = 2048


def entropy(stats: TensorStats, grid: Grid, options: Entropy) -> Range:
    """The range with the least divergence."""
    seen = magnitudes(stats, grid)
    if not seen.largest:
        return clipped_at(stats, 0.0)
    counts = rebinned(seen, BINS)
    counts[0] = counts[0] + stats.count - counts.sum() if options.count_zeros else counts[1]
    kept = bins_to_keep(counts, grid.highest + 1, "strict")
    return clipped_at(stats, (kept + 0.5) * seen.largest / BINS)
