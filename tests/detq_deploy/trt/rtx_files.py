"""Files that TensorRT-RTX builds for real, without a GPU."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from detq.graph.files import TARGET, detector_metadata, save_model
from detq_deploy.trt.load import MODULES
from tests.detq_deploy.conftest import DETECTOR
from tests.detq_deploy.lint.sketch import Sketch

needs_rtx = pytest.mark.skipif(
    not any(find_spec(name) for name in MODULES["tensorrt-rtx"]),
    reason="TensorRT-RTX is not installed: pip install 'detq[trt-check]'",
)


def tiny(
    folder: Path, note: str = "trt-rtx", *, quantized: bool = True, any_batch: bool = False
) -> Path:
    """Two layers, INT8 and float, or both float; images of 3 x 8 x 8."""
    s = Sketch(3)
    if any_batch:
        s.images.shape = ir.Shape(["batch", 3, 8, 8])
    x = s.pair(s.images) if quantized else s.images
    model = s.done(s.relu(s.layer(x, "first", size=3, inputs=3, quantized=quantized)))
    return saved(model, folder / f"{note or 'foreign'}-{quantized}.onnx", note)


def refused(folder: Path) -> Path:
    """A file whose bias NVIDIA's parser refuses, as ONNX Runtime's quantizer writes it."""
    s = Sketch()
    codes = s.constant("bias", np.ones(16, np.int32))
    scale = s.constant("bias.scale", np.full(16, 0.001, np.float32))
    bias = s.op("DequantizeLinear", codes, scale, name="bias.dq", axis=0)
    return saved(s.done(s.layer(s.pair(s.images), bias=bias)), folder / "refused.onnx", "trt-rtx")


def saved(model: ir.Model, path: Path, note: str) -> Path:
    model.metadata_props.update(detector_metadata(DETECTOR))
    if note:
        model.metadata_props[TARGET] = note
    save_model(model, path)
    return path
