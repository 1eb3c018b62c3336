"""The small blocks of every generation."""

import onnx_ir as ir

from detq.torch_file.module import Module
from detq.torch_layers.conv_bn import conv_bn, conv_bn_act
from detq.torch_layers.writer import Writer


def conv_module(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Convolution, normalization, and an activation unless it is left out."""
    if m.attributes.get("activation_type", m) is None:
        return conv_bn(write, m, x)
    return conv_bn_act(write, m, x)


def wrapped(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """A class around one ``block``."""
    return write.apply(m.child("block"), x)


def transpose(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Upsampling by a transposed convolution."""
    return write.apply(m.child("upsample_transpose"), x)


def dp_block(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Depthwise and pointwise convolution, each normalized and activated."""
    return write.chain(m, x, "conv_dw_1", "bn_1", "act_1", "conv_pw_1", "bn_2", "act_2")


def se_block(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Squeeze and excitation: every channel times a factor made of all channels' means."""
    factor = write.chain(m, x, "avg_pool", "conv1", "relu", "conv2", "hardsigmoid")
    if factor.shape is None or x.shape is None or factor.shape[1] != x.shape[1]:
        raise m.damaged("its factors are not one per channel")
    return write.to.elementwise("Mul", x, factor)
