"""Files with suppression and preprocessing inside, from the command that writes them to those that
read them."""

import json
from pathlib import Path

import pytest

from detq.graph.files import load_model
from tests.cli.calls import SIZE, Detq, Tiny

pytest.importorskip("torch", reason="a checkpoint is merged with torch")

ENGINES = ("onnxruntime", "openvino")


@pytest.fixture
def with_heads(detq: Detq, tiny: Tiny, tmp_path: Path) -> Path:
    path = tmp_path / "heads.onnx"
    words = ["export", tiny.checkpoint, "--size", SIZE, "--nms", "onnx", "--with-preprocess"]
    detq(*words, "--output", path).done()
    return path


def score(detq: Detq, *words: object) -> dict[str, object]:
    found: dict[str, object] = json.loads(detq("eval", *words, "--threads", 1, "--json").done().out)
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_figures_as_without(detq: Detq, tiny: Tiny, with_heads: Path, engine: str) -> None:
    words = ("--data", tiny.data.coco, "--backend", engine)
    outside = score(detq, tiny.model("float"), *words)
    inside = score(detq, with_heads, *words)
    assert inside["AP"] == pytest.approx(outside["AP"], abs=0.001)
    assert "IoU 0.65, inside the file" in str(inside["protocol"])
    fewer = score(detq, with_heads, *words, "--max-detections", 1, "--iou", 0.1)
    assert fewer["AR100"] < inside["AR100"]  # type: ignore[operator]
    assert "IoU 0.65, inside the file, multi-label, 1 detections" in str(fewer["protocol"])


def test_who_else_reads_it(detq: Detq, tiny: Tiny, with_heads: Path, tmp_path: Path) -> None:
    timed = json.loads(detq("bench", with_heads, "--rounds", 1, "--json").done().out)
    assert timed["timings"][0]["size"] == [64, 96]
    words = ["compare", tiny.model("float"), with_heads, "--data", tiny.data.coco, "--json"]
    plain, heads = json.loads(detq(*words, "--no-accuracy").done().out)
    assert plain["errors"]
    assert heads["errors"] == []
    drawn = [tmp_path / name for name in ("plain", "heads")]
    for model, folder in zip((tiny.model("float"), with_heads), drawn, strict=True):
        detq("predict", model, tiny.data.val, "--output", folder).done()
    one, other = (json.loads((folder / "detections.json").read_text()) for folder in drawn)
    assert [row["class"] for row in one] == [row["class"] for row in other]
    assert "64 x 96 x 3" in detq("inspect", with_heads).done().out


def test_quantize_adds_them_to_the_engines_files(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    words = ["quantize", tiny.checkpoint, "--data", tiny.data.train, "--size", SIZE, "--count", 4]
    head = ["--nms", "onnx", "--nms-detections", 7, "--target", "openvino"]
    detq(*words, *head, "--output", tmp_path).done()
    outputs = {
        name: [value.name for value in load_model(tmp_path / f"{name}.onnx").graph.outputs]
        for name in ("float", "model.plain", "model.openvino")
    }
    assert outputs["model.openvino"] == ["num_dets", "det_boxes", "det_scores", "det_classes"]
    assert outputs["float"] == outputs["model.plain"] == ["outputs"]
    found = score(detq, tmp_path / "model.openvino.onnx", "--data", tiny.data.coco)
    assert "7 detections" in str(found["protocol"])


def test_what_does_not_go_together(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    export = ["export", tiny.checkpoint, "--size", SIZE, "--output", tmp_path / "m.onnx"]
    detq(*export, "--nms-iou", 0.5).refused("there is no suppression", "add --nms")
    detq(*export, "--nms", "onnx", "--format", "safetensors").refused("only for ONNX")
    quantize = ["quantize", tiny.checkpoint, "--data", tiny.data.train, "--output", tmp_path / "q"]
    called = detq(*quantize, "--size", SIZE, "--nms", "efficient", "--target", "openvino")
    called.refused("openvino: does not take --nms efficient", "give --nms onnx")
    called = detq(*quantize, "--size", SIZE, "--nms", "onnx", "--target", "trt-rtx")
    called.refused("trt-rtx: does not take --nms onnx", "leave --nms out")
    assert not list(tmp_path.iterdir())


def test_only_tensorrt_runs_the_plugin(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    words = ["export", tiny.checkpoint, "--size", SIZE, "--nms", "efficient", "--output", path]
    detq(*words).done()
    for engine in ENGINES:
        called = detq("eval", path, "--data", tiny.data.coco, "--backend", engine)
        called.refused("m.onnx: ", "EfficientNMS_TRT")
