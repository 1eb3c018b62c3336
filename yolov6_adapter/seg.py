"""Mask prototypes of the segmentation heads."""

import onnx_ir as ir

from detq.torch_file.module import Module
from detq.torch_layers.writer import Writer


def proto(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``cv3(cv2(upsample(cv1(x))))``."""
    return write.chain(m, x, "cv1", "upsample", "cv2", "cv3")


def write_prototypes(write: Writer, m: Module, finest: ir.Value) -> ir.Value:
    """Prototypes [N, masks, h, w] from the finest features."""
    if len(m.child("seg_proto").children) != 1:
        raise m.unsupported(f"{len(m.child('seg_proto').children)} sets of prototypes")
    with write.to.scope(m.key), write.to.scope("seg_proto"):
        found = m.child("seg_proto").child("0")
        with write.to.stage(found.path):
            return write.apply(found, finest)
