"""Pyramid pooling at the end of the backbone."""

import onnx_ir as ir

from detq.torch_file.module import Module
from detq.torch_layers.writer import Writer


def sppf(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``cv2`` over ``cv1`` and its three poolings; since 0.4 inside ``sppf``."""
    if "sppf" in m.children:
        return write.apply(m.child("sppf"), x)
    return write.apply(m.child("cv2"), _pooled(write, m, write.apply(m.child("cv1"), x)))


def csp_sppf(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``cv7(concat(cv2(x), cv6(cv5(pooled(cv4(cv3(cv1(x)))))))``; since 0.4 inside ``cspsppf``."""
    if "cspsppf" in m.children:
        return write.apply(m.child("cspsppf"), x)
    long = _pooled(write, m, write.chain(m, x, "cv1", "cv3", "cv4"))
    long = write.chain(m, long, "cv5", "cv6")
    return write.apply(m.child("cv7"), write.concat(m, write.apply(m.child("cv2"), x), long))


def _pooled(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    steps = [x]
    for _ in range(3):
        steps.append(write.apply(m.child("m"), steps[-1]))
    return write.concat(m, *steps)
