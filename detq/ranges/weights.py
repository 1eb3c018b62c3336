"""Ranges of weights, from the weights themselves: min-max, or the least squared error.

``mse`` tries 80 thresholds per channel, from the largest magnitude in steps of 1 % down, and
takes the one with the least Σ (w - Q(w))², the widest of equals.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from detq.numerics import Grid, quantize, scale_from_range

WeightRange = Callable[[NDArray[np.float32], int | None, Grid], NDArray[np.float64]]

CANDIDATES = 80


def largest_weights(
    weights: NDArray[np.float32], axis: int | None, grid: Grid
) -> NDArray[np.float64]:
    """Nothing is clipped.

    Args:
        weights: float32 of any shape.
        axis: dimension with a range for each index, or None for one in all.
        grid: the integers.

    Returns:
        Float64 [n], the magnitude of the largest integer for each index, or a number.
    """
    found: NDArray[np.float64] = np.abs(weights).max(axis=_others(weights, axis), initial=0)
    return found.astype(np.float64)


def least_error_weights(
    weights: NDArray[np.float32], axis: int | None, grid: Grid
) -> NDArray[np.float64]:
    """The least squared error; arguments and result as for ``largest_weights``."""
    largest = largest_weights(weights, axis, grid)
    best, least = largest, np.full(largest.shape, np.inf)
    for step in range(CANDIDATES):
        tried = largest * (1 - step / 100)
        error = _squared_error(weights, axis, grid, tried)
        best = np.where(error < least, tried, best)
        least = np.minimum(error, least)
    return best


WEIGHT_RANGES: Mapping[str, WeightRange] = {
    "minmax": largest_weights,
    "mse": least_error_weights,
}


def scale_for(
    weights: NDArray[np.float32], scale: NDArray[np.float32], axis: int | None
) -> NDArray[np.float32]:
    """Scales in the shape that goes with the weights."""
    return scale if axis is None else np.expand_dims(scale, _others(weights, axis))


def _others(weights: NDArray[np.float32], axis: int | None) -> tuple[int, ...]:
    return tuple(i for i in range(weights.ndim) if i != axis)


def _squared_error(
    weights: NDArray[np.float32], axis: int | None, grid: Grid, largest: NDArray[np.float64]
) -> NDArray[np.float64]:
    scale = scale_for(weights, scale_from_range(largest, grid), axis)
    lost = weights - quantize(weights, scale, grid) * scale
    error: NDArray[np.float64] = np.square(lost, dtype=np.float64).sum(_others(weights, axis))
    return error
