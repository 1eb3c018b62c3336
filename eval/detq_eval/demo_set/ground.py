"""Textured grounds: smooth noise between colours, stripes, chequers, and clutter on them."""

import cv2
import numpy as np
from numpy.typing import NDArray

from detq_eval.demo_set.draws import Draws

Picture = NDArray[np.int64]  # [height, width, 3], 0 to 255


def draw_ground(draws: Draws, height: int, width: int) -> Picture:
    """A ground, 0 to 255 [height, width, 3]."""
    mix = _noise(draws, height, width, draws.pick((48, 64, 96)))
    style = draws.below(4)
    if style == 0:
        mix = (2 * mix + _noise(draws, height, width, 12)) // 3
    elif style == 1:
        period = draws.between(6, 40)
        slant = _ramp(draws, height, width) + mix * draws.below(3) * 16
        mix = np.where(slant // 64 // period % 2, mix // 3, 160 + mix // 3)
    elif style == 2:
        period = draws.between(10, 50)
        y, x = np.ogrid[:height, :width]
        mix = np.where((x // period + y // period) % 2, mix // 2, 100 + mix // 2)
    fine = draws.octets(height, width).astype(np.int64) - 128
    mix = np.clip(mix + fine * draws.between(0, 40) // 128, 0, 255)[..., None]
    first, second = _muted(draws.colour()), _muted(draws.colour())
    mixed: Picture = (first * (255 - mix) + second * mix) // 255
    return _cluttered(draws, mixed)


def _muted(colour: NDArray[np.int64]) -> NDArray[np.int64]:
    """A colour nearer to its own grey."""
    muted: NDArray[np.int64] = (colour + colour.sum() // 3 + 30) // 2
    return muted


def _noise(draws: Draws, height: int, width: int, cell: int) -> NDArray[np.int64]:
    """Numbers on a grid, linear between: 0 to 255 [height, width].

    The products of float64 numbers here are whole and below 2**53, so that they are exact in
    whatever order a machine adds them.
    """
    down, across = _between_cells(height, cell), _between_cells(width, cell)
    grid = draws.octets(down.shape[1], across.shape[1]).astype(np.float64)
    return (down @ grid @ across.T).astype(np.int64) // (cell * cell)


def _between_cells(length: int, cell: int) -> NDArray[np.float64]:
    places = np.arange(length)
    weights = np.zeros((length, length // cell + 2))
    weights[places, places // cell] = cell - places % cell
    weights[places, places // cell + 1] = places % cell
    return weights


def _ramp(draws: Draws, height: int, width: int) -> NDArray[np.int64]:
    """Rising in some direction, 64 per pixel at most, never negative."""
    y, x = np.ogrid[:height, :width]
    down, across = draws.between(-64, 64), draws.between(-64, 64)
    return np.asarray(64 * 2 * (height + width) + down * y + across * x)


def _cluttered(draws: Draws, picture: Picture) -> Picture:
    """Thin lines and specks that are no objects."""
    height, width = picture.shape[:2]
    drawn = np.ascontiguousarray(picture, dtype=np.uint8)
    for _ in range(draws.below(5)):
        start, end = ((draws.below(width), draws.below(height)) for _ in range(2))
        cv2.line(drawn, start, end, _scalar(draws), draws.between(1, 4))
    for _ in range(draws.below(12)):
        x, y, size = draws.below(width), draws.below(height), draws.between(2, 7)
        cv2.rectangle(drawn, (x, y), (x + size, y + size), _scalar(draws), -1)
    return drawn.astype(np.int64)


def _scalar(draws: Draws) -> tuple[int, int, int]:
    red, green, blue = (int(c) for c in draws.colour())
    return red, green, blue
