"""Magnitudes as estimators see them: counts between edges, evenly spread inside a bin."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detq.numerics import Grid
from detq.stats import Range, TensorStats


@dataclass(frozen=True, slots=True, eq=False)
class Magnitudes:
    """How often which magnitudes were seen; zeros are not among them.

    Attributes:
        counts: float64 [n], n at least 1.
        edges: float64 [n + 1], rising from 0 to the largest magnitude; 0 and 0 where no
            value was seen.
    """

    counts: NDArray[np.float64]
    edges: NDArray[np.float64]

    @property
    def largest(self) -> float:
        """The largest magnitude seen."""
        return float(self.edges[-1])


def magnitudes(stats: TensorStats, grid: Grid) -> Magnitudes:
    """What one threshold serves: of x above zero, and with a sign of x below zero too."""
    positive = stats.histogram.positive
    if not grid.signed:
        return _magnitudes(positive, stats.histogram.width, stats.maximum)
    largest = max(stats.maximum, -stats.minimum)
    return _magnitudes(positive + stats.histogram.negative, stats.histogram.width, largest)


def positive_magnitudes(stats: TensorStats) -> Magnitudes:
    """Of the values above zero."""
    return _magnitudes(stats.histogram.positive, stats.histogram.width, stats.maximum)


def negative_magnitudes(stats: TensorStats) -> Magnitudes:
    """Of the values below zero."""
    return _magnitudes(stats.histogram.negative, stats.histogram.width, -stats.minimum)


def rebinned(seen: Magnitudes, bins: int) -> NDArray[np.float64]:
    """Float64 [bins], counts in equal bins up to the largest magnitude, not always whole."""
    below = np.append(0.0, np.cumsum(seen.counts))
    edges = seen.largest * np.arange(bins + 1) / bins
    found: NDArray[np.float64] = np.diff(np.interp(edges, seen.edges, below))
    return found.clip(0)


def clipped_at(stats: TensorStats, threshold: float) -> Range:
    """What was seen, as far as it is not above a magnitude."""
    return Range(max(min(stats.minimum, 0.0), -threshold), min(max(stats.maximum, 0.0), threshold))


def _magnitudes(counts: NDArray[np.int64], width: float, largest: float) -> Magnitudes:
    if largest <= 0:
        return Magnitudes(np.zeros(1), np.zeros(2))
    # The largest value ends the last bin. One that begins a bin ends the one before.
    used = int(np.ceil(largest / width))
    kept = counts[:used].astype(np.float64)
    kept[-1] += counts[used:].sum()
    edges = width * np.arange(used + 1, dtype=np.float64)
    edges[-1] = largest
    return Magnitudes(kept, edges)
