"""One function per ONNX operator, under its ONNX name; attributes are keyword arguments.

Operator definitions: the ONNX specification, opset 13 to 21. Integers between
QuantizeLinear and DequantizeLinear are carried as floats, which hold them exactly, so
that a learner can replace two functions of the table and keep all others.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor

from detq.graph.foreign_ops import FOREIGN
from detq.numerics import round_to_grid

Ints = Sequence[int]
Operator = Callable[..., Any]

_TORCH_TYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64,
    9: torch.bool, 10: torch.float16, 11: torch.float64,
}  # fmt: skip


def _padded(
    x: Tensor, pads: Ints | None, value: float = 0.0, largest: Ints | None = None
) -> tuple[Tensor, tuple[int, ...]]:
    """``x`` and the padding torch can apply by itself; uneven padding is done here.

    Args:
        x: [B, C, H, W].
        pads: top, left, bottom, right.
        value: of the padding.
        largest: padding that torch's operator takes, rows and columns; any if None.
    """
    top, left, bottom, right = pads or (0, 0, 0, 0)
    fits = largest is None or (top <= largest[0] and left <= largest[1])
    if (top, left) == (bottom, right) and fits:
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def _pool_input(
    x: Tensor, kernel: Ints, pads: Ints | None, ceil_mode: int, value: float = 0.0
) -> tuple[Tensor, tuple[int, ...]]:
    padded, padding = _padded(x, pads, value, [k // 2 for k in kernel])
    if ceil_mode and padded is not x:
        # A window may begin in padding that torch made, not in padding it does not know of.
        raise NotImplementedError(f"ceil_mode with pads={list(pads or ())}")
    return padded, padding


def _window(x: Tensor, auto_pad: str) -> None:
    """Refuse what a sliding window of two dimensions does not cover."""
    if x.dim() != 4:  # torch would take a missing batch dimension as meant
        raise NotImplementedError(f"input of {x.dim()} dimensions")
    if auto_pad not in ("NOTSET", "VALID"):
        raise NotImplementedError(f"auto_pad={auto_pad}")


def Conv(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    kernel_shape: Ints | None = None,
    strides: Ints = (1, 1),
    pads: Ints | None = None,
    dilations: Ints = (1, 1),
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> Tensor:
    _window(x, auto_pad)
    x, padding = _padded(x, pads)
    return F.conv2d(x, w, b, tuple(strides), padding, tuple(dilations), group)


def ConvTranspose(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    kernel_shape: Ints | None = None,
    strides: Ints = (1, 1),
    pads: Ints | None = None,
    output_padding: Ints = (0, 0),
    dilations: Ints = (1, 1),
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> Tensor:
    _window(x, auto_pad)
    top, left, bottom, right = pads or (0, 0, 0, 0)
    y = F.conv_transpose2d(
        x, w, b, tuple(strides), 0, tuple(output_padding), group, tuple(dilations)
    )
    return y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]


def BatchNormalization(
    x: Tensor,
    gain: Tensor,
    shift: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
) -> Tensor:
    if training_mode:
        raise NotImplementedError("training_mode=1")
    return F.batch_norm(x, mean, variance, gain, shift, False, 0.0, epsilon)


def MaxPool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    strides: Ints | None = None,
    pads: Ints | None = None,
    dilations: Ints = (1, 1),
    ceil_mode: int = 0,
    storage_order: int = 0,
    auto_pad: str = "NOTSET",
) -> Tensor:
    _window(x, auto_pad)
    x, padding = _pool_input(x, kernel_shape, pads, ceil_mode, float("-inf"))
    return F.max_pool2d(
        x, tuple(kernel_shape), tuple(strides or (1, 1)), padding, tuple(dilations), bool(ceil_mode)
    )


def AveragePool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    strides: Ints | None = None,
    pads: Ints | None = None,
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    auto_pad: str = "NOTSET",
) -> Tensor:
    _window(x, auto_pad)
    padded, padding = _pool_input(x, kernel_shape, pads, ceil_mode)
    window = tuple(kernel_shape), tuple(strides or (1, 1)), padding, bool(ceil_mode)
    if count_include_pad or padded is x:
        return F.avg_pool2d(padded, *window, bool(count_include_pad))
    # Padding made here looks like the image to torch: take its share out again.
    inside, _ = _padded(torch.ones_like(x[:1, :1]), pads, largest=(0, 0))
    return F.avg_pool2d(padded, *window) / F.avg_pool2d(inside, *window)


def GlobalAveragePool(x: Tensor) -> Tensor:
    return x.mean((-2, -1), keepdim=True)


def Relu(x: Tensor) -> Tensor:
    return torch.relu(x)


def LeakyRelu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return F.leaky_relu(x, alpha)


def Sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x)


def HardSigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


def HardSwish(x: Tensor) -> Tensor:
    return x * HardSigmoid(x, alpha=1 / 6)


def Tanh(x: Tensor) -> Tensor:
    return torch.tanh(x)


def Exp(x: Tensor) -> Tensor:
    return torch.exp(x)


def Sqrt(x: Tensor) -> Tensor:
    return torch.sqrt(x)


def Softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return torch.softmax(x, axis)


def Clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x if low is None and high is None else x.clamp(low, high)


def Add(a: Tensor, b: Tensor) -> Tensor:
    return a + b


def Sub(a: Tensor, b: Tensor) -> Tensor:
    return a - b


def Mul(a: Tensor, b: Tensor) -> Tensor:
    return a * b


def Div(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def Pow(a: Tensor, b: Tensor) -> Tensor:
    return torch.pow(a, b).to(a.dtype)


def Sum(*inputs: Tensor) -> Tensor:
    total = inputs[0]
    for x in inputs[1:]:
        total = total + x
    return total


def MatMul(a: Tensor, b: Tensor) -> Tensor:
    return a @ b


def ReduceSum(
    x: Tensor, axes: Tensor | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Tensor:
    dims = [] if axes is None else axes.tolist()
    return x if noop_with_empty_axes and not dims else x.sum(dims or None, bool(keepdims))


def ReduceMean(
    x: Tensor, dims: Tensor | None = None, *, axes: Ints = (), keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Tensor:  # fmt: skip
    # Opset 18 made the attribute an input.
    over = list(axes) if dims is None else dims.tolist()
    return x if noop_with_empty_axes and not over else x.mean(over or None, bool(keepdims))


def Concat(*inputs: Tensor, axis: int) -> Tensor:
    return torch.cat(inputs, axis)


def Split(
    x: Tensor, sizes: Tensor | None = None, *, axis: int = 0, num_outputs: int | None = None
) -> tuple[Tensor, ...]:
    if sizes is not None:
        return torch.split(x, sizes.tolist(), axis)
    if num_outputs is None:
        raise NotImplementedError("Split without sizes")
    return x.chunk(num_outputs, axis)


def Slice(
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    dims = range(len(starts)) if axes is None else axes.tolist()
    strides = [1] * len(starts) if steps is None else steps.tolist()
    index: list[slice] = [slice(None)] * x.dim()
    for dim, start, end, step in zip(dims, starts.tolist(), ends.tolist(), strides, strict=True):
        if step < 1:
            raise NotImplementedError("Slice backwards")
        index[dim] = slice(start, end, step)
    return x[tuple(index)]


def Reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    sizes = [x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(shape.tolist())]
    return x.reshape(sizes)


def Flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    return x.reshape(int(torch.tensor(x.shape[:axis]).prod()), -1)


def Transpose(x: Tensor, *, perm: Ints | None = None) -> Tensor:
    return x.permute(tuple(perm) if perm else tuple(reversed(range(x.dim()))))


def Unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    for axis in sorted(axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def Squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes.tolist()))


def Expand(x: Tensor, shape: Tensor) -> Tensor:
    # ONNX lets a 1 in the shape keep the input's size.
    return x * torch.ones(shape.tolist(), dtype=x.dtype, device=x.device)


def Resize(
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75,
) -> Tensor:
    if sizes is not None:
        wanted = sizes.tolist()
    elif scales is not None:
        wanted = [n * s for n, s in zip(x.shape, scales.tolist(), strict=True)]
    else:
        raise NotImplementedError("Resize without scales or sizes")
    target = [int(n) for n in wanted[2:]]
    # The pixels lie elsewhere when the scale is not the ratio of the sizes.
    if wanted != [*x.shape[:2], *target]:
        raise NotImplementedError(f"Resize from {list(x.shape)} to {wanted}")
    whole = all(t % n == 0 for t, n in zip(target, x.shape[2:], strict=True))
    # For whole factors every nearest rule below picks the same pixel.
    if (
        mode == "nearest"
        and whole
        and (coordinate_transformation_mode, nearest_mode)
        in (
            ("asymmetric", "floor"),
            ("half_pixel", "round_prefer_floor"),
            ("half_pixel", "round_prefer_ceil"),
            ("pytorch_half_pixel", "round_prefer_floor"),
        )
    ):
        return F.interpolate(x, size=target, mode="nearest")
    if mode == "linear" and coordinate_transformation_mode in ("half_pixel", "align_corners"):
        corners = coordinate_transformation_mode == "align_corners"
        return F.interpolate(x, size=target, mode="bilinear", align_corners=corners)
    raise NotImplementedError(f"Resize {mode} {coordinate_transformation_mode} {nearest_mode}")


def Identity(x: Tensor) -> Tensor:
    return x


def Cast(x: Tensor, *, to: int, saturate: int = 1) -> Tensor:
    return x.to(_TORCH_TYPES[to])


def _along(axis: int, vector: Tensor, x: Tensor) -> Tensor:
    """A per-channel vector shaped so that it multiplies dimension ``axis`` of ``x``."""
    if vector.dim() == 0 or vector.numel() == 1:
        return vector.reshape(())
    shape = [1] * x.dim()
    shape[axis] = -1
    return vector.reshape(shape)


def QuantizeLinear(
    x: Tensor, scale: Tensor, zero_point: Tensor, *, axis: int = 1, saturate: int = 1
) -> Tensor:
    integers = torch.iinfo(zero_point.dtype)
    rounded = round_to_grid(x, _along(axis, scale, x).to(x.dtype))
    if zero_point.any():
        rounded = rounded + _along(axis, zero_point, x).to(x.dtype)
    return rounded.clamp(integers.min, integers.max)


def DequantizeLinear(
    x: Tensor, scale: Tensor, zero_point: Tensor | None = None, *, axis: int = 1
) -> Tensor:
    per_axis = _along(axis, scale, x)
    integers = x.to(per_axis.dtype)
    if zero_point is not None and zero_point.any():
        integers = integers - _along(axis, zero_point, x).to(per_axis.dtype)
    return integers * per_axis


_OWN: Mapping[str, Operator] = {
    operator.__name__: operator
    for operator in (
        Add, AveragePool, BatchNormalization, Cast, Clip, Concat, Conv, ConvTranspose,
        DequantizeLinear, Div, Exp, Expand, Flatten, GlobalAveragePool, HardSigmoid, HardSwish,
        Identity, LeakyRelu, MatMul, MaxPool, Mul, Pow, QuantizeLinear, ReduceMean, ReduceSum,
        Relu, Reshape, Resize, Sigmoid, Slice, Softmax, Split, Sqrt, Squeeze, Sub, Sum, Tanh,
        Transpose, Unsqueeze,
    )
}  # fmt: skip
TABLE: Mapping[str, Operator] = {**_OWN, **FOREIGN}
