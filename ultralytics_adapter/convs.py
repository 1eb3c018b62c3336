"""Convolutions that are more than convolution, normalization, activation."""

import onnx_ir as ir

from detq.torch_file.module import Module
from detq.torch_layers.conv_bn import is_fused
from detq.torch_layers.writer import Writer


def conv_transpose(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Transposed convolution, normalized unless it was fused or made without, activated."""
    parts = ["conv_transpose"] if is_fused(m, "bn") else ["conv_transpose", "bn"]
    return write.chain(m, x, *parts, "act")


def rep_conv(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``act(conv1(x) + conv2(x) + bn(x))``, or the one convolution it was merged to."""
    if is_fused(m, "conv1", "conv2"):
        return write.chain(m, x, "conv", "act")
    total = write.add(m, write.apply(m.child("conv1"), x), write.apply(m.child("conv2"), x))
    if m.has("bn"):
        total = write.add(m, total, write.apply(m.child("bn"), x))
    return write.apply(m.child("act"), total)


def rep_vgg_dw(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``act(conv(x) + conv1(x))``, depthwise 7x7 and 3x3, or the one they were merged to."""
    total = write.apply(m.child("conv"), x)
    if not is_fused(m, "conv1"):
        total = write.add(m, total, write.apply(m.child("conv1"), x))
    return write.apply(m.child("act"), total)
