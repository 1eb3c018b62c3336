"""Q and DQ that a gradient passes: the same numbers, rounding taken for the identity.

Of ``clip(round(x / s), low, high) s`` the gradient by ``x`` is 1 inside the range and 0
outside, and by ``s`` it is ``round(x / s) - x / s`` inside and ``low`` or ``high`` outside
(LSQ, arXiv 1902.08153). Both follow from rounding in one operator and scaling in the next.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from detq.graph.ops import TABLE, Operator
from detq.numerics import round_to_grid


def quantize_linear(
    x: Tensor, scale: Tensor, zero_point: Tensor, *, axis: int = 1, saturate: int = 1
) -> Tensor:
    """QuantizeLinear with one scale, as activations have it; integers stay floats."""
    integers = torch.iinfo(zero_point.dtype)
    rounded = straight_through(x / scale, round_to_grid(x.detach(), scale.detach()))
    return (rounded + zero_point).clamp(integers.min, integers.max)


def straight_through(exact: Tensor, rounded: Tensor) -> Tensor:
    """The value of ``rounded``, to the bit, with the gradient of ``exact``."""
    return rounded.detach() + (exact - exact.detach())


STRAIGHT_THROUGH: Mapping[str, Operator] = {**TABLE, "QuantizeLinear": quantize_linear}
