import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from detq.graph.files import load_model
from detq.model import FloatModel
from detq.quantized import weights_of
from tests.cli.calls import SIZE, Detq, Tiny

pytest.importorskip("torch", reason="quantizing runs the network in torch")


@pytest.fixture(scope="module")
def bare(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint's network, branches apart, as a file that says nothing of detq."""
    model = onnx.load(tiny.models / "source.onnx")
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
    path = tmp_path_factory.mktemp("bare") / "bare.onnx"
    onnx.save(model, path)
    return path


def words(source: Path, tiny: Tiny, output: Path) -> list[object]:
    return ["quantize", source, "--data", tiny.data.train, "--count", 8, "--output", output]


def test_a_network_from_onnx_becomes_the_same_integers(
    detq: Detq, tiny: Tiny, bare: Path, tmp_path: Path
) -> None:
    called = detq(*words(bare, tiny, tmp_path / "out"), "--names", "a,b,c").done()
    assert " 44 of 50" in called.out
    ours = dict(_integers(tmp_path / "out/model.plain.onnx"))
    theirs = dict(_integers(tiny.model("model.plain")))
    assert ours.keys() == theirs.keys()
    for name, integers in theirs.items():
        assert np.abs(ours[name].astype(int) - integers).max() <= 1, name
    model = load_model(tmp_path / "out/model.plain.onnx")
    detector = json.loads(model.metadata_props["detq.detector"])
    assert detector["names"] == ["a", "b", "c"]
    assert "x".join(map(str, detector["size"])) == SIZE  # of the graph, none was given


def _integers(path: Path) -> "list[tuple[str, np.ndarray]]":
    return [(name, integers) for name, integers, _ in weights_of(load_model(path))]


def test_a_fixed_batch_is_calibrated_in_that_batch(
    detq: Detq, tiny: Tiny, bare: Path, tmp_path: Path
) -> None:
    model = onnx.load(bare)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3  # 8 images: 3, 3 and 2
    onnx.save(model, tmp_path / "three.onnx")
    detq(*words(tmp_path / "three.onnx", tiny, tmp_path / "out")).done()
    written = load_model(tmp_path / "out/model.plain.onnx")
    assert written.graph.inputs[0].shape[0] == 3
    refused = detq(*words(tmp_path / "three.onnx", tiny, tmp_path / "two"), "--batch", 2)
    refused.refused("--batch: the network takes 3 images at a time, not 2")


def test_export_makes_a_file_that_the_engines_take(
    detq: Detq, tiny: Tiny, bare: Path, tmp_path: Path
) -> None:
    written = tmp_path / "float.onnx"
    detq("export", bare, "--output", written, "--names", "a,b,c").done()
    found = detq(
        "compare", tiny.model("float"), written, "--data", tiny.data.train, "--count", 2,
        "--no-accuracy", "--json",
    ).done()  # fmt: skip
    (_, second) = json.loads(found.out)
    assert all(error["largest"] <= 1e-4 * max(error["span"], 1) for error in second["errors"])


def test_channels_are_compared_with_rows(
    detq: Detq, tiny: Tiny, bare: Path, tmp_path: Path
) -> None:
    model = onnx.load(bare)
    last = model.graph.node[-1]
    assert last.op_type == "Transpose"
    joined = next(node for node in model.graph.node if node.output[0] == last.input[0])
    without = [name for name in joined.input if "objectness" not in name]
    assert len(without) == len(joined.input) - 1
    del joined.input[:], model.graph.node[-1]
    joined.input.extend(without)
    joined.output[0] = model.graph.output[0].name
    dims = model.graph.output[0].type.tensor_type.shape.dim
    del dims[:]
    onnx.save(model, tmp_path / "channels.onnx")
    written = tmp_path / "float.onnx"
    detq("export", tmp_path / "channels.onnx", "--output", written).done()
    detector = json.loads(load_model(written).metadata_props["detq.detector"])
    assert detector["layout"] == "channels"
    found = detq(
        "compare", tiny.model("float"), written, "--data", tiny.data.train, "--count", 2,
        "--no-accuracy", "--json",
    ).done()  # fmt: skip
    errors = json.loads(found.out)[1]["errors"]
    assert len(errors) == 2
    assert all(error["largest"] <= 1e-4 * max(error["span"], 1) for error in errors)


def test_inspect_says_what_would_become_of_it(detq: Detq, tiny: Tiny, bare: Path) -> None:
    called = detq("inspect", bare).done()
    assert "not written by detq" in called.out
    assert "a detector of 3 classes, output in rows, strides 8, 16, 32" in called.out
    found = json.loads(detq("inspect", bare, "--json").done().out)["network"]
    assert found["stages"][-1] == "decode"
    assert found["blocks"]["branches"] > 0


def test_inspect_says_why_not(detq: Detq, tmp_path: Path, bare: Path) -> None:
    model = onnx.load(bare)
    model.metadata_props.add(key="task", value="pose")
    onnx.save(model, tmp_path / "pose.onnx")
    called = detq("inspect", tmp_path / "pose.onnx").done()
    assert "cannot be quantized: " in called.out
    assert "is a model for 'pose'" in called.out


def test_a_quantized_file_is_refused(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    source = tiny.model("model.plain")
    detq(*words(source, tiny, tmp_path / "out")).refused("is quantized already")


def test_the_content_decides_and_not_the_name(
    detq: Detq, tiny: Tiny, bare: Path, tmp_path: Path
) -> None:
    shutil.copy(bare, tmp_path / "model")
    shutil.copy(tiny.checkpoint, tmp_path / "checkpoint.onnx")
    detq("export", tmp_path / "model", "--output", tmp_path / "a.onnx").done()
    words = ["export", tmp_path / "checkpoint.onnx", "--size", SIZE]
    detq(*words, "--output", tmp_path / "b.onnx").done()
    detq(*words, "--layout", "rows", "--output", tmp_path / "c.onnx").refused("--layout")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("data.yaml", "names: [x, y, z]\n"),
        ("truth.json", '{"categories": [{"id": 7, "name": "z"}, {"id": 1, "name": "x"}, '
                       '{"id": 3, "name": "y"}], "images": []}'),
    ],
)  # fmt: skip
def test_names_come_from_a_file(
    detq: Detq, bare: Path, tmp_path: Path, file: str, content: str
) -> None:
    (tmp_path / file).write_text(content)
    given = ["--names", tmp_path / file]
    detq("export", bare, *given, "--output", tmp_path / "a.onnx").done()
    detector = json.loads(load_model(tmp_path / "a.onnx").metadata_props["detq.detector"])
    assert detector["names"] == ["x", "y", "z"]
    refused = detq("export", bare, "--names", "x", "--output", tmp_path / "b.onnx")
    refused.refused("has 8 columns for a box, 1 class names need 5 or 6")


def test_a_float_model_knows_its_batch(bare: Path) -> None:
    from onnx_adapter import read_onnx

    model = read_onnx(bare)
    assert isinstance(model, FloatModel)
    assert model.batch is None
