"""The layers of torch.nn as ONNX nodes, every number checked against the others."""

from collections.abc import Mapping

import onnx_ir as ir

from detq.graph.build import channels, size_of
from detq.torch_file.module import Array, Module
from detq.torch_layers.writer import BlockBuilder, Writer


def conv2d(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Conv2d with zero padding."""
    weight, bias = m.array("weight", 4), m.optional_array("bias", 1)
    groups, stride = m.integer("groups", 1), m.pair("stride", 1)
    padding, dilation = m.pair("padding"), m.pair("dilation", 1)
    if m.attributes.get("padding_mode", "zeros") != "zeros":
        raise m.unsupported("only zero padding is known")
    outputs, inputs = weight.shape[:2]
    if inputs * groups != channels(x) or outputs % groups or outputs == 0:
        raise m.damaged(f"weight {list(weight.shape)} with {groups} groups on {channels(x)} inputs")
    _check_bias(m, bias, outputs)
    _check_window(m, x, weight.shape[2:], padding, dilation)
    return write.to.conv(
        x,
        weight,
        bias,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        name=m.key,
    )


def conv_transpose2d(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """ConvTranspose2d in its plain form."""
    weight, bias = m.array("weight", 4), m.optional_array("bias", 1)
    plain = m.integer("groups") == 1 and m.pair("dilation") == (1, 1)
    if not plain or m.pair("output_padding") != (0, 0):
        raise m.unsupported("groups, dilation and output padding are not known")
    stride, padding = m.pair("stride", 1), m.pair("padding")
    if weight.shape[0] != channels(x) or 0 in weight.shape or padding != (0, 0):
        raise m.damaged(f"weight {list(weight.shape)}, padding {padding} on {channels(x)} inputs")
    _check_bias(m, bias, weight.shape[1])
    return write.to.conv_transpose(x, weight, bias, stride=stride, name=m.key)


def batch_norm2d(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """BatchNorm2d with the statistics and the eps of the checkpoint."""
    names = ("weight", "bias", "running_mean", "running_var")
    gain, shift, mean, variance = (m.array(name, 1) for name in names)
    if {len(array) for array in (gain, shift, mean, variance)} != {channels(x)}:
        raise m.damaged(f"{len(gain)} channels on {channels(x)} inputs")
    eps = m.number("eps")
    if not 0 <= eps <= 1 or float(variance.min()) + eps <= 0:
        raise m.damaged(f"variance {variance.min()} with eps {eps}")
    return write.to.batch_norm(x, gain, shift, mean, variance, eps=eps, name=m.key)


def identity(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Nothing to write."""
    return x


def sequential(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Children one after another."""
    return write.chain(m, x, *m.children)


def relu(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """ReLU."""
    return write.to.elementwise("Relu", x, name=m.key)


def silu(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """SiLU, ``x * sigmoid(x)``."""
    gate = write.to.elementwise("Sigmoid", x, name=f"{m.key}.sigmoid")
    return write.to.elementwise("Mul", x, gate, name=m.key)


def hardswish(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Hardswish, ``x * clip(x / 6 + 1/2, 0, 1)`` in torch and ONNX alike."""
    return write.to.elementwise("HardSwish", x, name=m.key)


def hardsigmoid(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Hardsigmoid with torch's slope 1/6; the default of ONNX is 0.2."""
    return write.to.elementwise("HardSigmoid", x, name=m.key, alpha=1 / 6, beta=0.5)


def max_pool2d(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """MaxPool2d."""
    if m.pair("dilation") != (1, 1) or m.flag("ceil_mode"):
        raise m.unsupported("dilation and ceil_mode are not known")
    return _pool("MaxPool", write, m, x)


def avg_pool2d(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """AvgPool2d that counts its zero padding."""
    plain = m.flag("count_include_pad") and m.attributes.get("divisor_override") is None
    if not plain or m.flag("ceil_mode"):
        raise m.unsupported("only the mean over the padded window is known")
    return _pool("AveragePool", write, m, x)


def adaptive_avg_pool2d(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """AdaptiveAvgPool2d to one pixel."""
    if m.pair("output_size") != (1, 1):
        raise m.unsupported("only one output pixel is known")
    return write.to.global_average_pool(x, name=m.key)


def upsample(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Upsample by a whole number, nearest neighbour."""
    factor = m.number("scale_factor")
    if m.attributes.get("mode") != "nearest" or factor not in (1, 2, 3, 4):
        raise m.unsupported("only nearest with a factor up to 4 is known")
    return write.to.resize_nearest(x, int(factor), name=m.key)


def _pool(kind: str, write: Writer, m: Module, x: ir.Value) -> ir.Value:
    kernel, padding = m.pair("kernel_size", 1), m.pair("padding")
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise m.damaged(f"padding {padding} of a kernel {kernel}")
    _check_window(m, x, kernel, padding, (1, 1))
    return write.to.pool(kind, x, kernel, stride=m.pair("stride", 1), padding=padding, name=m.key)


def _check_bias(m: Module, bias: Array | None, outputs: int) -> None:
    if bias is not None and len(bias) != outputs:
        raise m.damaged(f"a bias of {len(bias)} for {outputs} outputs")


def _check_window(
    m: Module,
    x: ir.Value,
    kernel: tuple[int, ...],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> None:
    for n, k, p, d in zip(size_of(x), kernel, padding, dilation, strict=True):
        if k < 1 or n + 2 * p < d * (k - 1) + 1:
            raise m.damaged(f"a kernel of {kernel} on an input of {size_of(x)}")


# By the name of the class; a network's own blocks are put beside them.
LAYERS: Mapping[str, BlockBuilder] = {
    "Conv2d": conv2d,
    "ConvTranspose2d": conv_transpose2d,
    "BatchNorm2d": batch_norm2d,
    "Identity": identity,
    "Sequential": sequential,
    "ReLU": relu,
    "SiLU": silu,
    "Hardswish": hardswish,
    "Hardsigmoid": hardsigmoid,
    "MaxPool2d": max_pool2d,
    "AvgPool2d": avg_pool2d,
    "AdaptiveAvgPool2d": adaptive_avg_pool2d,
    "Upsample": upsample,
}
