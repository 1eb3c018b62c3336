"""Convolution, normalization, activation: the small blocks of every generation."""

import onnx_ir as ir

from yolov6_adapter.inert import Method
from yolov6_adapter.module import Module
from yolov6_adapter.writer import Writer

FUSED = Method("forward_fuse")


def conv_bn_act(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``conv``, then ``bn`` unless it was fused, then ``act``."""
    return write.apply(m.child("act"), _conv_bn(write, m, x))


def conv_module(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """The same, but the activation may be left out."""
    if m.attributes.get("activation_type", m) is None:
        return _conv_bn(write, m, x)
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


def _conv_bn(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    fused = m.attributes.get("forward") == FUSED
    if fused == ("bn" in m.children):
        raise m.unsupported("it is neither normalized nor fused, or both")
    return write.chain(m, x, "conv") if fused else write.chain(m, x, "conv", "bn")
