"""QPRep's affine behind a convolution, folded into it: no weight is rounded again.

With ``y = gain u + shift`` behind ``u = conv(x, diag(s) Q) + b`` (QPRep, arXiv 2402.16121)::

    Q' = sign(gain) Q      s' = |gain| s      b' = gain b + shift

Q keeps its integers up to the sign, which the narrow grid of weights always has room for. A gain
of 0 leaves integers of 0 on the old scale: the channel is then the constant ``b'``.
"""

import torch
from torch import Tensor

_SMALLEST = 1e-8  # a gain below it is 0
_TINY = float(torch.finfo(torch.float32).tiny)


def fold_gain(
    codes: Tensor, scale: Tensor, gain: Tensor, axis: int | None
) -> tuple[Tensor, Tensor]:
    """Weights of a layer whose output is multiplied by ``gain``.

    Args:
        codes: int8 of any shape.
        scale: float32 [channels], or a number where ``axis`` is None.
        gain: float64 [channels] or a number, any sign.
        axis: dimension of the codes that has a scale each.

    Returns:
        Codes and positive scales in the types given.
    """
    gain = gain.to(torch.float64).reshape(scale.shape)
    grown = (gain.abs() * scale).to(scale.dtype)
    dead = (gain.abs() < _SMALLEST) | (grown < _TINY)
    sign = torch.where(dead, 0, torch.sign(gain)).to(codes.dtype)
    if axis is not None:
        shape = [1] * codes.dim()
        shape[axis] = -1
        sign = sign.reshape(shape)
    return codes * sign, torch.where(dead, scale, grown)


def fold_bias(bias: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Bias float32 [channels] of a layer behind which stands ``gain u + shift``."""
    folded = gain.to(torch.float64) * bias + shift.to(torch.float64)
    return folded.to(bias.dtype)
