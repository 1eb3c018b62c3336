from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from detq.detection import Detector
from detq.graph.build import Builder
from detq.graph.files import detector_metadata, save_model

DETECTOR = Detector(family="tiny", names=("cat", "dog"), strides=(8,), size=(16, 16))
Size = int | str


@pytest.fixture
def detector() -> Detector:
    return DETECTOR


@pytest.fixture
def float_file(tmp_path: Path) -> Path:
    return _saved(chain(quantized=False), tmp_path / "float.onnx", DETECTOR)


@pytest.fixture
def qdq_file(tmp_path: Path) -> Path:
    return _saved(chain(quantized=True), tmp_path / "qdq.onnx", DETECTOR)


@pytest.fixture
def write_chain(tmp_path: Path) -> Callable[..., Path]:
    """Write a chain without detq's metadata."""

    def write(**options: object) -> Path:
        return _saved(chain(**options), tmp_path / "plain.onnx")

    return write


def chain(
    *, quantized: bool = False, batch: Size = 1, height: Size = 16, last_quantized: bool = True
) -> ir.Model:
    """Two 3 x 3 convolutions with a ReLU between; images of height x 16."""
    random = np.random.default_rng(1)
    b = Builder("chain")
    x = b.input("images", (batch, 3, height, 16))
    for name, inputs, outputs in (("first", 3, 16), ("second", 16, 8)):
        weight = random.normal(0, 0.2, (outputs, inputs, 3, 3)).astype(np.float32)
        bias = random.normal(0, 0.1, outputs).astype(np.float32)
        with b.scope(name):
            if quantized:
                x = _qdq(b, x, 2 / 255)
            w = _weight(b, weight) if quantized else b.constant("weight", weight)
            shape = (batch, outputs, height, 16)
            x = b.op("Conv", x, w, b.constant("bias", bias), pads=[1, 1, 1, 1], shape=shape)
            x = b.op("Relu", x, shape=shape)
    if quantized and last_quantized:
        x = _qdq(b, x, 8 / 255)
    return b.finish({"outputs": x})


def _qdq(b: Builder, x: ir.Value, scale: float) -> ir.Value:
    grid = b.constant("scale", np.array(scale, np.float32)), b.constant("zp", np.array(0, np.uint8))
    codes = b.op("QuantizeLinear", x, *grid, name="q")
    codes.dtype = ir.DataType.UINT8
    return b.op("DequantizeLinear", codes, *grid, name="dq", shape=x.shape)


def _weight(b: Builder, weight: np.ndarray) -> ir.Value:
    scale = np.abs(weight).max(axis=(1, 2, 3)) / np.float32(127)
    codes = (weight / scale[:, None, None, None]).astype(np.int8)
    return b.op(
        "DequantizeLinear", b.constant("weight", codes), b.constant("weight.scale", scale), axis=0
    )


def _saved(model: ir.Model, path: Path, detector: Detector | None = None) -> Path:
    if detector is not None:
        model.metadata_props.update(detector_metadata(detector))
    save_model(model, path)
    return path
