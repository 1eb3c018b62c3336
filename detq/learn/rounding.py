"""Up or down: the rounding of a weight as something a gradient can learn.

AdaRound (arXiv 2004.10568): a weight lies between two integers, ``low`` and ``low + 1``, and
``h(v) = clip(1.2 sigmoid(v) - 0.1, 0, 1)`` says how far up it is taken. A penalty
``mean(1 - |2 h - 1|^beta)`` with falling ``beta`` drives every ``h`` to 0 or 1.
"""

import torch
from torch import Tensor

from detq.numerics import Grid

LOW, HIGH = -0.1, 1.1  # stretch of the sigmoid, so that 0 and 1 are reached
BLUNTEST, SHARPEST = 20.0, 2.0
WARM_UP = 0.2  # share of the way without a penalty
_INSIDE = 0.499  # positions from integers, so that the start rounds to the codes it has


def rectified_sigmoid(v: Tensor) -> Tensor:
    """How far up, 0 to 1."""
    return (torch.sigmoid(v) * (HIGH - LOW) + LOW).clamp(0, 1)


def regularizer(v: Tensor, progress: float) -> Tensor | None:
    """The penalty on being undecided, 0 to 1; none at the beginning of the way."""
    if progress < WARM_UP:
        return None
    along = (progress - WARM_UP) / (1 - WARM_UP)
    beta = BLUNTEST + (SHARPEST - BLUNTEST) * along
    return (1 - (2 * rectified_sigmoid(v) - 1).abs() ** beta).mean()


def position_from(codes: Tensor, weights: Tensor, axis: int | None) -> Tensor:
    """Where the float weights lie among the integers.

    The scale is the one that fits codes to weights best, per channel: the stored one may hold a
    gain by now, and its sign.

    Args:
        codes: ``W_int``.
        weights: float, of the same shape.
        axis: dimension with a scale each, or None.
    """
    integers = codes.to(weights.dtype)
    over = [i for i in range(codes.dim()) if i != axis]
    dot = (weights * integers).sum(over, keepdim=True)
    size = (integers * integers).sum(over, keepdim=True)
    fits = dot != 0
    return torch.where(fits, weights * size / torch.where(fits, dot, 1.0), integers)


def near(codes: Tensor, position: Tensor) -> Tensor:
    """Positions that round to ``codes``, also where clipping or a gain took the codes elsewhere."""
    integers = codes.to(position.dtype)
    return integers + (position - integers).clamp(-_INSIDE, _INSIDE)


def start_at(codes: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """The integer below each weight, and ``v`` such that ``h(v)`` is how far above it lies.

    Rounded as it stands, the start is ``codes``.
    """
    integers = codes.to(position.dtype)
    off = near(codes, position) - integers
    low = integers - (off < 0).to(off.dtype)
    share = (integers + off - low - LOW) / (HIGH - LOW)
    return low, torch.log(share / (1 - share))


def hard_codes(low: Tensor, v: Tensor, grid: Grid) -> Tensor:
    """Integers of the grid."""
    up = (rectified_sigmoid(v) >= 0.5).to(low.dtype)
    return (low + up).clamp(grid.lowest, grid.highest).to(torch.int8)
