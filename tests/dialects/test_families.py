"""Real checkpoints in both forms that TensorRT takes."""

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from detq.dialects import write_float, write_quantized
from detq.model import FloatModel
from detq.placement import place
from detq.quantized import QuantizedModel, quantize, weights_of
from detq.stats import Range
from detq.target import PLAIN, Target
from detq.transforms import DEFAULT, transform
from detq_deploy.targets import TENSORRT
from tests.engines import assert_within_range
from yolov6_adapter import read_checkpoint, source_from_checkpoint

pytest.importorskip("torch", reason="merging is checked in torch")

# The other checkpoints of the test data are made of the same blocks.
FAMILIES = ("v4_n_deploy", "v4_m", "lite_s", "base_n", "seg_n", "v1_n_train")
# The other targets differ from these in names and ceilings, or leave less in float.
FORMS = ("trt8.4", "trt10.3")


@cache
def merged(path: Path) -> FloatModel:
    return transform(source_from_checkpoint(read_checkpoint(path), (64, 64)), DEFAULT)


def quantized(model: FloatModel, target: Target) -> QuantizedModel:
    """With one range for all: what is tested is the form, not the accuracy."""
    placement = place(model, target)
    return quantize(model, placement, dict.fromkeys(placement.groups, Range(-6.0, 6.0)))


def checked_and_run(model: ir.Model) -> NDArray[np.float32]:
    content = ir.to_proto(model).SerializeToString()
    onnx.checker.check_model(content, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    return np.asarray(session.run(None, {"images": images})[0])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_file_is_sound_and_its_integers_are_the_models(
    name: str, form: str, data: Path
) -> None:
    target = TENSORRT[form]
    model = quantized(merged(data / "fixtures" / f"{name}.pt"), target)
    written = write_quantized(model, target, batch=1)
    assert np.isfinite(checked_and_run(written)).all()
    wanted = {weight: integers.tobytes() for weight, integers, _ in weights_of(model.graph)}
    found = {weight: integers.tobytes() for weight, integers, _ in weights_of(written)}
    assert found == wanted and wanted
    assert target.opset <= written.opset_imports[""] <= target.opset_ceiling
    assert {node.op_type for node in written.graph} <= target.operators


@pytest.mark.parametrize("name", FAMILIES)
def test_one_grid_has_the_same_integers_in_every_form(name: str, data: Path) -> None:
    model = merged(data / "fixtures" / f"{name}.pt")
    of_plain = {n: x.tobytes() for n, x, _ in weights_of(quantized(model, PLAIN).graph)}
    for form in FORMS:
        found = {n: x.tobytes() for n, x, _ in weights_of(quantized(model, TENSORRT[form]).graph)}
        assert found.items() <= of_plain.items()


@pytest.mark.parametrize("name", FAMILIES)
def test_float16_alone_is_the_float_network(name: str, data: Path) -> None:
    model = merged(data / "fixtures" / f"{name}.pt")
    half = checked_and_run(write_float(model, batch=1, half=True))
    assert_within_range(half, checked_and_run(write_float(model, batch=1)), 0.005)
