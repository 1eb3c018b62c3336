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
    weights = {}
    for target in targets:
        model = load_model(tiny.model(f"model.{target}"))
        weights[target] = {name: integers for name, integers, _ in weights_of(model)}
        assert all(integers.dtype == np.int8 for integers in weights[target].values())
        assert model.metadata_props["detq.target"].startswith(target)
    assert len(weights["plain"]) == 44
    for target in targets[1:]:  # CPU engines leave layers float that gain nothing
        assert 20 < len(weights[target]) < 44
        if max(np.abs(integers.astype(int)).max() for integers in weights[target].values()) > 63:
            for name, integers in weights[target].items():
                np.testing.assert_array_equal(integers, weights["plain"][name], err_msg=name)


def test_plain_is_always_there_and_what_was_done_is_told(
    detq: Detq, tiny: Tiny, tmp_path: Path
) -> None:
    words = ["quantize", tiny.checkpoint, "--data", tiny.data.train, "--size", SIZE, "--count", 4]
    called = detq(*words, "--output", tmp_path / "out", "--batch", 2).done()
    steps = called.err.splitlines()
    assert steps == [
        "[1/5] float: read best_ckpt.pt, merge its branches",
        "[2/5] calibrate: look at 4 images",
        "[3/5] channel_wise: bring channels to one range, look again",
        "[4/5] quantize.plain: learn, write model.plain.onnx",
        "[5/5] layers: compare the layers of model.plain.onnx with the float ones",
    ]
    assert "model.plain.onnx " in called.out
    assert " 44 of 50" in called.out
    assert "warning" not in called.out
    assert load_model(tmp_path / "out/model.plain.onnx").graph.inputs[0].shape[0] == 2
    again = detq(*words, "--output", tmp_path / "out", "--batch", 2).done()
    assert again.err.splitlines()[1] == "[2/5] calibrate: kept"
    steps = "float, calibrate, channel_wise, quantize.plain, layers"
    assert f"kept from before: 5 of 5 steps ({steps})\n" in again.out


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


def test_learners_run_in_the_order_given_and_are_told(
    detq: Detq, tiny: Tiny, tmp_path: Path
) -> None:
    words = ["quantize", tiny.checkpoint, "--data", tiny.data.train, "--size", SIZE, "--count", 3]
    learners = ["--learn", "qprep", "--learn", "bias_correction"]
    called = detq(*words, *learners, "--output", tmp_path / "out").done()
    rows = [line.split() for line in called.out.splitlines() if line.strip().startswith("plain ")]
    assert [row[:3] for row in rows] == [["plain", "qprep", "3"], ["plain", "bias_correction", "3"]]
    called = detq(*words, "--learn", "nothing", "--output", tmp_path / "out")
    assert called.code == 2


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


@pytest.mark.parametrize("name", ["im${x}gs", "~nosuch"])
def test_what_a_shell_leaves_in_a_path_is_its_name(
    detq: Detq, tiny: Tiny, from_folder: Path, name: str
) -> None:
    (from_folder / name).mkdir()
    called = detq("quantize", tiny.checkpoint, "--data", name, "--size", SIZE, "--output", "out")
    called.refused(f"{name}: no images")


def test_an_answer_for_every_layer(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    words = ["quantize", tiny.checkpoint, "--data", tiny.data.train, "--size", SIZE, "--count", 2]
    words += ["--target", "trt10.3", "--target", "jetpack5.0", "--output", tmp_path / "out"]
    found = json.loads(detq(*words, "--explain", "--json").done().out)["explain"]
    assert list(found) == ["plain", "trt10.3", "jetpack5.0"]
    for target, int8 in (("plain", 44), ("trt10.3", 44), ("jetpack5.0", 42)):
        layers = found[target]["layers"]
        assert len(layers) == 50 and sum(layer["int8"] for layer in layers) == int8
        assert all(layer["why"] for layer in layers)
    assert (found["jetpack5.0"]["target"], found["jetpack5.0"]["opset"]) == ("trt8.4", 13)
    told = detq(*words, "--explain").done().out
    assert "trt10.3: s8 activations, s8 weights; scales of float16, float16 body: 44 of 50" in told
    assert "6 float islands\n" in told


def test_a_tie_that_is_cut(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    words = ["quantize", tiny.checkpoint, "--data", tiny.data.train, "--size", SIZE, "--count", 2]
    words += ["--output", tmp_path / "out"]
    tied = json.loads(detq(*words, "--explain", "--json").done().out)["explain"]["plain"]["layers"]
    group = next(layer["group"] for layer in tied if layer["members"] > 1)
    called = detq(*words, "--cut-tie", group.removesuffix(".even"), "--explain", "--json").done()
    cut = json.loads(called.out)["explain"]["plain"]["layers"]
    members = {layer["group"]: layer["members"] for layer in cut}
    assert members.get(group, 1) == 1
    detq(*words, "--cut-tie", "nothing").refused("--cut-tie: pattern 'nothing' matches no tensor")
