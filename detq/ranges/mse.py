"""MSE: the clip point with the least squared error of rounding and clipping together.

For a threshold t the scale is s = t / q, q the largest integer, and the error is
Σ (x - Q(x))² with Q(x) = s·clip(round(x / s)). Thresholds are tried from the largest
magnitude down, evenly on a logarithmic scale.

Values count as evenly spread inside a bin, and the sum is then an integral in closed form.
A value is rounded to n or above if it exceeds the tie y_n = (n - ½)·s, so

    Σ Q(x)  = s · Σ_n N(y_n)                       N(y): values above y
    Σ Q(x)² = s² · Σ_n (2n - 1)·N(y_n)
    Σ x·Q(x) = s · Σ_n M(y_n)                      M(y): sum of the values above y

over n = 1 … q, and Σ x² is the same for every threshold. Each side of zero has a sum of its
own, for a signed grid reaches one integer further below zero.
"""

import numpy as np
from numpy.typing import NDArray

from detq.numerics import Grid
from detq.ranges.magnitudes import (
    Magnitudes,
    clipped_at,
    negative_magnitudes,
    positive_magnitudes,
)
from detq.recipe import Mse
from detq.stats import Range, TensorStats

# The smallest threshold, 2^-8 of the largest magnitude, still has eight bins or more.
OCTAVES = 8


def mse(stats: TensorStats, grid: Grid, options: Mse) -> Range:
    """The range with the least squared error, the widest of equals."""
    sides = [(positive_magnitudes(stats), grid.highest)]
    if grid.signed:
        sides.append((negative_magnitudes(stats), -grid.lowest))
    largest = max(seen.largest for seen, _ in sides)
    steps = np.arange(options.candidates) * (OCTAVES / options.candidates)
    thresholds = largest * np.exp2(-steps)
    scales = thresholds / grid.highest
    error = sum(squared_error(seen, scales, integers) for seen, integers in sides)
    return clipped_at(stats, float(thresholds[np.argmin(error)]))


def squared_error(
    seen: Magnitudes, scales: NDArray[np.float64], integers: int
) -> NDArray[np.float64]:
    """Float64 [scales], squared error of one side of zero, less Σ x²."""
    if not seen.largest:
        return np.zeros(len(scales))
    n = np.arange(1, integers + 1)
    count, total = _above(seen, np.outer(scales, n - 0.5))
    error: NDArray[np.float64] = scales**2 * (count @ (2.0 * n - 1))
    error -= 2 * scales * total.sum(axis=1)
    return error


def _above(
    seen: Magnitudes, y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many values are above y, and their sum."""
    low, high = seen.edges[:-1], seen.edges[1:]
    density = seen.counts / (high - low)
    count = np.append(np.cumsum(seen.counts[::-1])[::-1], 0)
    total = np.append(np.cumsum((seen.counts * (low + high) / 2)[::-1])[::-1], 0)
    y = np.minimum(y, seen.largest)
    inside = np.minimum((y / high[0]).astype(np.intp), len(low) - 1)
    end, here = high[inside], density[inside]
    return (
        count[inside + 1] + here * (end - y),
        total[inside + 1] + here * (end**2 - y**2) / 2,
    )
