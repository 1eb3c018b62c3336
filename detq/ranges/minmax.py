"""Min-max: nothing that was seen is clipped."""

from detq.numerics import Grid
from detq.recipe import MinMax
from detq.stats import Range, TensorStats


def minmax(stats: TensorStats, grid: Grid, options: MinMax) -> Range:
    """Smallest and largest value seen, zero included."""
    return Range(min(stats.minimum, 0.0), max(stats.maximum, 0.0))
