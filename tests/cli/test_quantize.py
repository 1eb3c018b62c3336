import json
from pathlib import Path

import numpy as np
import pytest

from detq.graph.files import load_model
from detq.quantized import weights_of
from tests.cli.calls import SIZE, Detq, Tiny, tree

pytest.importorskip("torch", reason="quantizing runs the network in torch")


def test_a_file_for_every_target(tiny: Tiny) -> None:
    names = {path.name for path in tiny.models.glob("*.onnx")}
    targets = ("plain", "onnxruntime", "openvino")
    assert names == {
        "source.onnx",
        "float.onnx",
        "even.onnx",
        *(f"model.{target}.onnx" for target in targets),
    }
    for target in targets:
        model = load_model(tiny.model(f"model.{target}"))
        weights = list(weights_of(model))
        assert len(weights) == 44
        assert all(integers.dtype == np.int8 for _, integers, _ in weights)
        assert model.metadata_props["detq.target"].startswith(target)


def test_plain_is_always_there_and_what_was_done_is_told(
    detq: Detq, tiny: Tiny, tmp_path: Path
) -> None:
    words = ["quantize", tiny.checkpoint, "--data", tiny.data.train, "--size", SIZE, "--count", 4]
    called = detq(*words, "--output", tmp_path / "out", "--batch", 2).done()
    steps = called.err.splitlines()
    assert steps == [
        "[1/4] float: read best_ckpt.pt, merge its branches",
        "[2/4] calibrate: look at 4 images",
        "[3/4] channel_wise: bring channels to one range, look again",
        "[4/4] quantize.plain: write model.plain.onnx",
    ]
    assert "model.plain.onnx " in called.out
    assert " 44 of 50" in called.out
    assert "warning" not in called.out
    assert load_model(tmp_path / "out/model.plain.onnx").graph.inputs[0].shape[0] == 2
    again = detq(*words, "--output", tmp_path / "out", "--batch", 2).done()
    assert again.err.splitlines()[1] == "[2/4] calibrate: kept"
    kept = "kept from before: 4 of 4 steps (float, calibrate, channel_wise, quantize.plain)\n"
    assert kept in again.out


def test_quiet_and_json(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    words = ["quantize", tiny.checkpoint, "--data", tiny.data.yolo, "--size", SIZE, "--count", 2]
    called = detq(*words, "--output", tmp_path / "out", "--quiet", "--json").done()
    assert called.err == ""
    found = json.loads(called.out)
    assert found["files"] == {"float": "float.onnx", "plain": "model.plain.onnx"}
    assert found["layers"] == {"plain": {"int8": 44, "all": 50}}
    assert found["reused"] == []
    kept = json.loads((tmp_path / "out/metrics.json").read_text())
    assert kept == {key: found[key] for key in kept}


def test_layers_that_stay_float(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    words = ["quantize", tiny.checkpoint, "--data", tiny.data.train, "--size", SIZE, "--count", 2]
    options = ["--float-layer", "backbone.stem*", "--float-layer", "*.Rep_p3.*"]
    called = detq(*words, *options, "--output", tmp_path / "out").done()
    assert " 42 of 50" in called.out


def test_a_pattern_that_matches_nothing_is_told_before_the_images_are_read(
    detq: Detq, tiny: Tiny, tmp_path: Path
) -> None:
    words = ["quantize", tiny.checkpoint, "--data", tiny.data.train, "--size", SIZE]
    called = detq(*words, "--float-layer", "stem.*", "--output", tmp_path / "out")
    called.refused("--float-layer: pattern 'stem.*' matches no layer", "like backbone.stem.conv")
    assert "stats.npz" not in tree(tmp_path / "out")


def test_a_checkpoint_that_is_not_there(detq: Detq, tiny: Tiny, from_folder: Path) -> None:
    called = detq("quantize", "no.pt", "--data", tiny.data.train, "--output", "out")
    called.refused("no.pt: no such file", "give the path of a checkpoint")
    assert tree(from_folder) == {}
