"""Convolution, normalization, activation: the block that every network of detectors has."""

import onnx_ir as ir

from detq.torch_file.inert import Method
from detq.torch_file.module import Module
from detq.torch_layers.writer import Writer

FUSED = Method("forward_fuse")


def conv_bn_act(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``conv``, then ``bn`` unless it was fused, then ``act``."""
    return write.apply(m.child("act"), conv_bn(write, m, x))


def conv_bn(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``conv``, then ``bn`` unless it was fused.

    Raises:
        UnsupportedBlockError: it does not say which of both it is.
    """
    return write.chain(m, x, "conv") if is_fused(m, "bn") else write.chain(m, x, "conv", "bn")


def is_fused(m: Module, *before: str) -> bool:
    """Whether a module computes its merged form; the parts of ``before`` are then gone.

    Raises:
        UnsupportedBlockError: it says the one and holds the other.
    """
    fused = m.attributes.get("forward") == FUSED
    if any(fused == (name in m.children) for name in before):
        raise m.unsupported("it is neither normalized nor fused, or both")
    return fused
