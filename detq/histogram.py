"""Counts of values in bins that fit together: exact, and the same in any order and grouping.

A histogram covers -2^k … 2^k, where 2^k is the smallest power of two above every magnitude
seen. Each side has :data:`BINS` bins of equal width 2^k / BINS, so between half of them and
all are used, and a bin is 1/2048 to 1/4096 of the largest magnitude. Bin i of the positive
side holds width·i ≤ x < width·(i + 1), bin i of the negative side the same of -x; zeros are
counted apart. A larger value doubles the range, and neighbours become one bin: the bins of
the larger range are exactly pairs of the smaller one's, therefore nothing but the values
decides the counts.
"""

from dataclasses import dataclass
from math import frexp

import cv2
import numpy as np
from numpy.typing import NDArray

BINS_EXPONENT = 12
BINS = 1 << BINS_EXPONENT

# Below every magnitude that float32 has: the range of a tensor of zeros.
SMALLEST_EXPONENT = -149


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How often which values were seen.

    Attributes:
        exponent: k; every magnitude is below 2^k.
        positive: int64 [BINS], counts of the values above zero by magnitude.
        negative: int64 [BINS], counts of the values below zero by magnitude.
        zeros: values that are zero.
    """

    exponent: int
    positive: NDArray[np.int64]
    negative: NDArray[np.int64]
    zeros: int

    @property
    def width(self) -> float:
        """Of one bin, a power of two."""
        return 2.0 ** (self.exponent - BINS_EXPONENT)

    @property
    def count(self) -> int:
        """Values seen."""
        return int(self.positive.sum()) + int(self.negative.sum()) + self.zeros


def exponent_above(magnitude: float) -> int:
    """The smallest k with ``magnitude`` < 2^k."""
    return frexp(magnitude)[1] if magnitude > 0 else SMALLEST_EXPONENT


def count_values(values: NDArray[np.float32], lowest: float, highest: float) -> Histogram:
    """Histogram of an array.

    Args:
        values: float32 of any shape, finite, fewer than 2^24: OpenCV counts in float32.
        lowest: smallest of ``values``.
        highest: largest of ``values``.
    """
    if values.size >= 1 << 24:
        raise AssertionError("too many values for exact counts")
    exponent = exponent_above(max(-lowest, highest))
    zeros = int(np.count_nonzero(values == 0))
    below = int(np.count_nonzero(values < 0)) if lowest < 0 else 0
    above = values.size - zeros - below
    # A value of the other side is counted like a zero, and both are taken out of the first bin.
    positive = _counts(np.maximum(values, 0) if below else values, exponent, above)
    negative = _counts(np.maximum(-values, 0) if below else values, exponent, below)
    return Histogram(exponent, positive, negative, zeros)


def add(a: Histogram, b: Histogram) -> Histogram:
    """The values of both."""
    exponent = max(a.exponent, b.exponent)
    a, b = _widened(a, exponent), _widened(b, exponent)
    return Histogram(exponent, a.positive + b.positive, a.negative + b.negative, a.zeros + b.zeros)


def _counts(magnitudes: NDArray[np.float32], exponent: int, count: int) -> NDArray[np.int64]:
    """Counts of the ``count`` magnitudes that are not zero."""
    if not count:
        return np.zeros(BINS, np.int64)
    size = magnitudes.size
    codes = np.empty(size + size % 2, np.uint16)
    # A power of two moves no bit; float32 has none as large as the least magnitudes need.
    exact = np.float64 if exponent < -100 else np.float32
    scale = 2.0 ** (BINS_EXPONENT - exponent)
    np.multiply(magnitudes.reshape(-1), scale, out=codes[:size], dtype=exact, casting="unsafe")
    # Neighbours are often equal, and a counter has to be written before it is read again:
    # one of each pair has counters of its own.
    codes.view(np.uint32)[:] += BINS << 16
    found = cv2.calcHist([codes[None, :size]], [0], None, [2 * BINS], [0.0, 2.0 * BINS])
    counts: NDArray[np.int64] = found.reshape(2, BINS).astype(np.int64).sum(axis=0)
    counts[0] -= size - count
    return counts


def _widened(histogram: Histogram, exponent: int) -> Histogram:
    doublings = exponent - histogram.exponent
    if not doublings:
        return histogram
    return Histogram(
        exponent,
        _joined(histogram.positive, doublings),
        _joined(histogram.negative, doublings),
        histogram.zeros,
    )


def _joined(counts: NDArray[np.int64], doublings: int) -> NDArray[np.int64]:
    together = 1 << min(doublings, BINS_EXPONENT)
    wide = np.zeros(BINS, np.int64)
    wide[: BINS // together] = counts.reshape(-1, together).sum(axis=1)
    return wide
