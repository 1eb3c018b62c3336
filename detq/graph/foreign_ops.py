"""Operators that only networks from other exporters have, as functions like those of ``ops``.

Much of it computes shapes where the size of the batch is left open.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor

from detq.numerics import round_to_grid

Ints = Sequence[int]


class Leading(tuple[Tensor, ...]):
    """Outputs of which a node may name the first ones alone."""

    __slots__ = ()


def ConstantOfShape(shape: Tensor, *, value: Any = None) -> Tensor:
    filled = np.zeros(1, np.float32) if value is None else value.numpy()
    return torch.from_numpy(np.full(shape.tolist(), filled.reshape(-1)[0], filled.dtype))


def Shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(tuple(x.shape)[start:end], dtype=torch.int64)


def Range(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def Gather(x: Tensor, index: Tensor, *, axis: int = 0) -> Tensor:
    axis %= x.dim()
    index = torch.where(index < 0, index + x.shape[axis], index)
    shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    return x.index_select(axis, index.reshape(-1)).reshape(shape)


def Equal(a: Tensor, b: Tensor) -> Tensor:
    return torch.eq(a, b)


def Where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, a, b)


def Tile(x: Tensor, repeats: Tensor) -> Tensor:
    return x.tile(repeats.tolist())


def Pad(
    x: Tensor,
    pads: Tensor,
    value: Tensor | None = None,
    axes: Tensor | None = None,
    *,
    mode: str = "constant",
) -> Tensor:
    if mode != "constant":
        raise NotImplementedError(f"mode={mode}")
    sides = pads.tolist()
    dims = [n % x.dim() for n in (range(x.dim()) if axes is None else axes.tolist())]
    around = [0] * (2 * x.dim())  # torch begins with the last dimension
    for i, dim in enumerate(dims):
        around[-2 * dim - 2 : len(around) - 2 * dim] = sides[i], sides[i + len(dims)]
    return F.pad(x, around, value=0 if value is None else value.item())


def DepthToSpace(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    b, c, h, w = x.shape
    n = blocksize
    if mode == "CRD":
        return F.pixel_shuffle(x, n)
    parts = x.reshape(b, n, n, c // (n * n), h, w)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(b, c // (n * n), h * n, w * n)


def SpaceToDepth(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    b, c, h, w = x.shape
    n = blocksize
    if mode == "CRD":
        return F.pixel_unshuffle(x, n)
    parts = x.reshape(b, c, h // n, n, w // n, n)
    return parts.permute(0, 3, 5, 1, 2, 4).reshape(b, c * n * n, h // n, w // n)


def _extreme(
    choose: Callable[..., Tensor], x: Tensor, axes: Tensor | Ints | None, keepdims: int, noop: int
) -> Tensor:
    over = [] if axes is None else axes.tolist() if isinstance(axes, Tensor) else list(axes)
    if not x.numel():
        raise NotImplementedError("the extreme of no number")
    return x if noop and not over else choose(x, over or tuple(range(x.dim())), bool(keepdims))


def ReduceMax(
    x: Tensor, dims: Tensor | None = None, *, axes: Ints | None = None, keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Tensor:  # fmt: skip
    given = axes if dims is None else dims  # opset 18 made the attribute an input
    return _extreme(torch.amax, x, given, keepdims, noop_with_empty_axes)


def ReduceMin(
    x: Tensor, dims: Tensor | None = None, *, axes: Ints | None = None, keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Tensor:  # fmt: skip
    given = axes if dims is None else dims
    return _extreme(torch.amin, x, given, keepdims, noop_with_empty_axes)


def Max(*inputs: Tensor) -> Tensor:
    found = inputs[0]
    for x in inputs[1:]:
        found = torch.maximum(found, x)
    return found


def Min(*inputs: Tensor) -> Tensor:
    found = inputs[0]
    for x in inputs[1:]:
        found = torch.minimum(found, x)
    return found


def Gemm(
    a: Tensor, b: Tensor, c: Tensor | None = None, *, alpha: float = 1.0, beta: float = 1.0,
    transA: int = 0, transB: int = 0,
) -> Tensor:  # fmt: skip
    product = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return product if c is None else product + beta * c


def Elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return F.elu(x, alpha)


def PRelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, slope * x, x)


def Softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))


def Mish(x: Tensor) -> Tensor:
    return x * torch.tanh(Softplus(x))


def Erf(x: Tensor) -> Tensor:
    return torch.erf(x)


def Gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    return F.gelu(x, approximate=approximate)


def Abs(x: Tensor) -> Tensor:
    return torch.abs(x)


def Neg(x: Tensor) -> Tensor:
    return torch.neg(x)


def Log(x: Tensor) -> Tensor:
    return torch.log(x)


def Floor(x: Tensor) -> Tensor:
    return torch.floor(x)


def Round(x: Tensor) -> Tensor:
    return round_to_grid(x, torch.ones((), dtype=x.dtype, device=x.device))


def LayerNormalization(
    x: Tensor, gain: Tensor, shift: Tensor | None = None, *, axis: int = -1,
    epsilon: float = 1e-5, stash_type: int = 1,
) -> Leading:  # fmt: skip
    over = tuple(range(axis % x.dim(), x.dim()))
    variance, mean = torch.var_mean(x, over, correction=0, keepdim=True)
    inverse = torch.rsqrt(variance + epsilon)
    normal = (x - mean) * inverse * gain
    return Leading((normal if shift is None else normal + shift, mean, inverse))


FOREIGN: Mapping[str, Callable[..., Any]] = {
    operator.__name__: operator
    for operator in (
        Abs, ConstantOfShape, DepthToSpace, Elu, Equal, Erf, Floor, Gather, Gelu, Gemm,
        LayerNormalization, Log, Max, Min, Mish, Neg, PRelu, Pad, Range, ReduceMax, ReduceMin,
        Round, Shape, Softplus, SpaceToDepth, Tile, Where,
    )
}  # fmt: skip
