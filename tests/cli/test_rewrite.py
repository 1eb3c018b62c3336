import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from detq.dialects.calibration_cache import cache_from_text
from detq.graph.files import load_model
from detq.quantized import weights_of
from detq_deploy.targets import JETPACKS, TENSORRT
from tests.cli.calls import SIZE, Detq, Tiny, tree
from tests.engines import assert_within_range

pytest.importorskip("torch", reason="the files are made with torch")

# The tiny detector has transposed convolutions in INT8.
REWRITTEN = [name for name, target in TENSORRT.items() if target.transposed != "float"]


def outputs(path: Path) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).random((1, 3, 64, 96), np.float32)
    return np.asarray(session.run(None, {"images": images})[0])


@pytest.mark.parametrize("target", REWRITTEN)
def test_one_calibrated_file_for_every_tensorrt(
    detq: Detq, tiny: Tiny, tmp_path: Path, target: str
) -> None:
    plain, path = tiny.model("model.plain"), tmp_path / "m.onnx"
    words = ["export", plain, "--target", target, "--batch", 1, "--output", path]
    assert f"m.onnx: for {target}, " in detq(*words).done().out
    onnx.checker.check_model(str(path), full_check=True)
    wanted = {name: integers.tobytes() for name, integers, _ in weights_of(load_model(plain))}
    found = {name: integers.tobytes() for name, integers, _ in weights_of(load_model(path))}
    assert found == wanted
    assert_within_range(outputs(path), outputs(plain), 0.05)


@pytest.mark.parametrize(("alias", "name"), [("jetpack5.1", "trt8.5"), ("jetpack7.2", "trt10.16")])
def test_a_jetpack_by_its_name(
    detq: Detq, tiny: Tiny, tmp_path: Path, alias: str, name: str
) -> None:
    assert JETPACKS[alias] == name
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for target, path in zip((alias, name), paths, strict=True):
        detq("export", tiny.model("model.plain"), "--target", target, "--output", path).done()
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_an_answer_for_every_layer(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    words = ["export", tiny.model("model.plain"), "--target", "trt10.3", "--explain"]
    words += ["--output", tmp_path / "m.onnx"]
    told = detq(*words).done().out
    assert "trt10.3: s8 activations, s8 weights; scales of float16, float16 body: 44 of 50" in told
    assert "1 tensors into INT8, 6 out of it, around 6 float islands\n" in told
    found = json.loads(detq(*words, "--json").done().out)
    layers = found["record"]["layers"]
    assert [layer["int8"] for layer in layers].count(True) == 44
    assert {layer["why"] for layer in layers if not layer["int8"]} == {
        "its output is boxes and scores, nothing averages its error out"
    }
    assert all(layer["input_scale"] > 0 for layer in layers if layer["int8"])
    assert found["record"]["opset"] == 19


def test_the_plan_of_a_checkpoint(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    words = ["export", tiny.checkpoint, "--size", SIZE, "--output", tmp_path / "m.onnx"]
    assert "before calibration: 44 of 50 layers INT8" in detq(*words, "--explain").done().out
    words += ["--target", "trt8.4"]
    layers = json.loads(detq(*words, "--explain", "--json").done().out)["layers"]
    assert {layer["why"] for layer in layers if layer["operator"] == "ConvTranspose"} == {
        "trt8.4: no INT8 kernel for transposed convolutions"
    }
    assert len(layers) == 50 and {layer["input_scale"] for layer in layers} == {None}


def test_float16_alone(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    words = ["export", tiny.checkpoint, "--size", SIZE, "--batch", 1, "--output"]
    detq(*words, tmp_path / "half.onnx", "--fp16").done()
    detq(*words, tmp_path / "float.onnx").done()
    onnx.checker.check_model(str(tmp_path / "half.onnx"), full_check=True)
    half, wanted = outputs(tmp_path / "half.onnx"), outputs(tmp_path / "float.onnx")
    assert half.dtype == np.float32
    assert_within_range(half, wanted, 4e-3)
    assert load_model(tmp_path / "half.onnx").metadata_props["detq.target"] == "float16"


def test_a_float_file_in_the_operators_of_a_target(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    words = ["export", tiny.checkpoint, "--size", SIZE, "--target", "trt8.5", "--output", path]
    detq(*words).done()
    assert load_model(path).opset_imports[""] == 13


def test_for_dla_floats_and_a_cache(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    words = ["export", tiny.model("model.plain"), "--target", "trt8.5", "--strip", "--output", path]
    told = detq(*words, "--batch", 1).done().out
    assert "warning: DLA: scales per channel of the weights, learned rounding and the" in told
    cache = cache_from_text((tmp_path / "m.cache").read_text(), "m.cache")
    assert cache.build == 8502
    model = load_model(path)
    assert not [n for n in model.graph if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    names = {str(y.name) for n in model.graph for y in n.outputs} | {"images"}
    assert set(cache.scales) <= names
    assert model.opset_imports[""] == 13


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["{plain}"], ["is quantized already", "add --target to write it for another"]),
        (["{plain}", "--target", "trt8.4"], ["is INT8, trt8.4 has no kernel for that"]),
        (["{plain}", "--target", "openvino"], ["images has signed (zero point 0) integers"]),
        (["{openvino}", "--target", "trt8.5"], ["trt8.5 takes signed (zero point 0) (quantize"]),
        (["{plain}", "--target", "trt8.5", "--strip"], ["--batch: DLA takes a fixed number"]),
        (
            ["{plain}", "--target", "trt10.13", "--strip", "--batch", "1"],
            ["trt10.13 reads no calibration cache", "--strip is for trt8.4 to trt10.3"],
        ),
        (["{float}", "--strip"], ["is not quantized (quantize it first: detq quantize"]),
    ],
)
def test_what_cannot_be_written(
    detq: Detq, tiny: Tiny, tmp_path: Path, words: list[str], texts: list[str]
) -> None:
    files = {"plain": "model.plain", "openvino": "model.openvino", "float": "float"}
    given = [
        tiny.model(files[word.strip("{}")]) if word.startswith("{") else word for word in words
    ]
    detq("export", *given, "--output", tmp_path / "m.onnx").refused(*texts)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("words", "option", "remedy"),
    [
        ("--size 64x96", "--size", "give it to detq quantize"),
        ("--layout rows", "--layout", "give it to detq quantize"),
        ("--names a,b,c", "--names", "give it to detq quantize"),
        ("--format safetensors", "--format", "leave it out"),
        ("--format safetensors --half", "--format", "leave it out"),
        ("--half", "--half", "leave it out"),
        ("--fp16", "--fp16", "leave it out"),
        ("--no-merge", "--merge, --no-merge", "leave it out"),
    ],
)
def test_what_a_quantized_file_cannot_become(
    detq: Detq, tiny: Tiny, tmp_path: Path, words: str, option: str, remedy: str
) -> None:
    given = ["export", tiny.model("model.plain"), "--target", "trt10.3", *words.split()]
    called = detq(*given, "--output", tmp_path / "m.onnx")
    called.refused(f"{option}: the file is quantized already ({remedy})")
    assert tree(tmp_path) == {}


def test_suppression_and_pixels_of_a_quantized_file(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    words = ["export", tiny.model("model.plain"), "--target", "trt10.3", "--output", path]
    words += ["--with-preprocess", "--nms"]
    found = json.loads(detq(*words, "onnx", "--explain", "--json").done().out)
    assert len(found["record"]["layers"]) == 50
    onnx.checker.check_model(str(path), full_check=True)
    graph = load_model(path).graph
    assert [x.name for x in graph.outputs] == ["num_dets", "det_boxes", "det_scores", "det_classes"]
    assert graph.inputs[0].shape[1:] == (64, 96, 3)
    path.unlink()
    words[words.index("trt10.3")] = "trt8.5"
    detq(*words, "onnx", "--strip", "--batch", 1).refused("--nms, --with-preprocess: not with")
    assert tree(tmp_path) == {}


def test_the_cache_does_not_take_the_name_of_the_model(
    detq: Detq, tiny: Tiny, tmp_path: Path
) -> None:
    words = ["export", tiny.model("model.plain"), "--target", "trt8.5", "--strip", "--batch", 1]
    called = detq(*words, "--output", tmp_path / "m.cache")
    called.refused("m.cache: is the name of the cache", "give ", "m.onnx")
    assert tree(tmp_path) == {}


def test_a_dialect_is_not_rewritten(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    for target in ("trt8.5", "trt10.3"):
        path = tmp_path / f"{target}.onnx"
        detq("export", tiny.model("model.plain"), "--target", target, "--output", path).done()
        detq("export", path, "--target", "trt11.4", "--output", tmp_path / "m.onnx").refused(
            f"is written for {target}: ", "already (give model.plain.onnx of the same run)"
        )


def test_an_unknown_target(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    words = ["export", tiny.model("model.plain"), "--target", "toaster", "--output", tmp_path / "m"]
    detq(*words).refused("toaster", "trt8.5", "jetpack7.2", "openvino")
