import json
from pathlib import Path

import pytest

from detq.graph.files import save_model
from tests.cli.calls import SIZE, Detq, Tiny
from tests.zoo import tiny_detector

FIGURES = {"file", "bytes", "detector", "target", "recipe", "inputs", "outputs", "opset",
           "operators", "int8_weights", "activation_scales"}  # fmt: skip


def test_a_checkpoint(detq: Detq, tiny: Tiny) -> None:
    text = detq("inspect", tiny.checkpoint, "--size", SIZE).done().out
    assert "YOLOv6 8-channel: best_ckpt.pt sha256:" in text
    assert "3 classes: red, green, blue\n" in text
    assert "strides 8, 16, 32; 16 stages\n" in text
    assert "14 RepVGGBlock" in text
    assert "backbone.ERBlock_2.1.conv1.conv " in text


def test_a_checkpoint_as_json(detq: Detq, tiny: Tiny) -> None:
    found = json.loads(detq("inspect", tiny.checkpoint, "--size", SIZE, "--json").done().out)
    assert found["names"] == ["red", "green", "blue"]
    assert found["parameters"] == 677_061
    assert found["parameters_merged"] < found["parameters"]


def test_a_quantized_file(detq: Detq, tiny: Tiny) -> None:
    text = detq("inspect", tiny.model("model.plain")).done().out
    assert "made for plain: TensorRT's numerics" in text
    assert "44 layers with INT8 weights" in text
    assert "input images: N x 3 x 64 x 96\n" in text
    figures = json.loads(detq("inspect", tiny.model("model.plain"), "--json").done().out)
    assert set(figures) == FIGURES
    assert figures["operators"]["QuantizeLinear"] == figures["activation_scales"]
    assert figures["bytes"] == tiny.model("model.plain").stat().st_size
    assert json.loads(figures["recipe"])["size"] == [64, 96]


def test_a_file_of_someone_else(detq: Detq, tmp_path: Path) -> None:
    model = tiny_detector().graph
    model.metadata_props.clear()
    save_model(model, tmp_path / "other.onnx")
    text = detq("inspect", tmp_path / "other.onnx").done().out
    assert "other.onnx: not written by detq\n" in text
    assert "0 layers with INT8 weights" in text


@pytest.mark.parametrize(("name", "kind"), [("no.pt", "a checkpoint"), ("no.onnx", "an ONNX file")])
def test_no_such_file(detq: Detq, name: str, kind: str) -> None:
    detq("inspect", name).refused(f"{name}: no such file", f"give the path of {kind}")
