"""Integers and scales: the one rounding of the project.

Every function takes NumPy arrays and torch tensors alike and returns the same kind.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

A = TypeVar("A", bound=Any)  # numpy.ndarray or torch.Tensor


@dataclass(frozen=True, slots=True)
class Grid:
    """The integers a tensor is rounded to; real zero is integer 0.

    Attributes:
        bits: 2 to 8.
        signed: two's complement, else 0 … 2^bits - 1.
        narrow: leave the lowest integer out, so that a sign can be flipped (weights).
        shifted: a signed grid stored unsigned, 128 higher: the same reals in the other type.
    """

    bits: int = 8
    signed: bool = True
    narrow: bool = False
    shifted: bool = False

    @property
    def lowest(self) -> int:
        """Smallest integer."""
        return int(self.narrow) - (1 << (self.bits - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """Largest integer, the divisor of a range."""
        return (1 << (self.bits - int(self.signed))) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The ONNX storage type."""
        return np.dtype(np.int8 if self.signed and not self.shifted else np.uint8)

    @property
    def zero_point(self) -> int:
        """What is stored for real zero."""
        return 128 if self.shifted else 0


ACTIVATIONS = Grid()
ACTIVATIONS_UNSIGNED = Grid(signed=False)
WEIGHTS = Grid(narrow=True)
WEIGHTS_7_BIT = Grid(bits=7, narrow=True)


def round_to_grid(x: A, scale: A) -> A:
    """``x / scale`` rounded half to even, as ONNX defines QuantizeLinear.

    Multiplying by ``1 / scale`` gives another integer on one exact tie in eight.
    """
    rounded: A = (x / scale).round()
    return rounded


def quantize(x: A, scale: A, grid: Grid) -> A:
    """Integers of ``x``, still in the floating type of ``x``."""
    integers: A = round_to_grid(x, scale).clip(grid.lowest, grid.highest)
    return integers


def scale_from_range(highest_abs: NDArray[np.floating[Any]], grid: Grid) -> NDArray[np.float32]:
    """Positive float32 scales for the largest magnitudes in float64.

    A dead channel (largest magnitude 0) gets the median scale of the living ones, or 1
    where all are dead: its integers are 0 with any scale.
    """
    # The smallest normal float32 keeps a scale positive after the cast.
    scale = np.asarray(highest_abs, np.float64) / grid.highest
    alive = scale > np.finfo(np.float32).tiny
    harmless = float(np.median(scale[alive])) if alive.any() else 1.0
    return np.where(alive, scale, harmless).astype(np.float32)
