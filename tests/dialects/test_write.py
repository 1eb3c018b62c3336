from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from detq import __version__
from detq.dialects import write_float, write_quantized
from detq.errors import InputError
from detq.graph.files import (
    RECIPE,
    TARGET,
    VERSION,
    detector_from_metadata,
    load_model,
    save_model,
)
from detq.quantized import scales_of, weights_of
from detq.target import PLAIN, Target
from tests.engines import in_interpreter, in_onnxruntime
from tests.steps import UNSIGNED, images, merged, quantized
from tests.zoo import ZOO

BATCHES = [None, 1, 3]


def content(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString(deterministic=True)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", ZOO)
def test_files_pass_the_checker(name: str, batch: int | None, tmp_path: Path) -> None:
    written = {
        "source": write_float(ZOO[name](), batch=batch),
        "float": write_float(merged(name), batch=batch),
        "signed": write_quantized(quantized(merged(name)), PLAIN, batch=batch),
        "unsigned": write_quantized(quantized(merged(name), UNSIGNED), UNSIGNED, batch=batch),
    }
    for kind, model in written.items():
        path = tmp_path / f"{kind}.onnx"
        save_model(model, path)
        onnx.checker.check_model(path, full_check=True)


@pytest.mark.parametrize("batch", BATCHES)
def test_the_batch_is_fixed_everywhere_or_nowhere(batch: int | None) -> None:
    model = write_quantized(quantized(merged("tiny_detector")), PLAIN, batch=batch)
    images_, outputs = model.graph.inputs[0], model.graph.outputs[0]
    assert images_.shape == ["batch" if batch is None else batch, 3, 64, 64]
    assert outputs.shape == ["batch" if batch is None else batch, 84, 8]
    shapes = {str(v.shape[0]) for n in model.graph for v in n.outputs if v.shape is not None}
    assert ("batch" in shapes) is (batch is None)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_computes_the_same(batch: int) -> None:
    model = quantized(merged("tiny_detector"))
    feeds = {"images": images(merged("tiny_detector"), batch)}
    fixed = in_interpreter(write_quantized(model, PLAIN, batch=batch), feeds)["outputs"]
    np.testing.assert_array_equal(fixed, in_interpreter(model.graph, feeds)["outputs"])
    in_onnxruntime(write_quantized(model, PLAIN, batch=batch), feeds)  # accepts the shapes


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_dynamic_batch_takes_any(batch: int) -> None:
    model = write_quantized(quantized(merged("tiny_detector")), PLAIN)
    feeds = {"images": images(merged("tiny_detector"), batch)}
    assert in_onnxruntime(model, feeds)["outputs"].shape == (batch, 84, 8)
    assert in_interpreter(model, feeds)["outputs"].shape == (batch, 84, 8)


def test_the_file_explains_itself(tmp_path: Path) -> None:
    target = Target("tensorrt", note="why")
    model = quantized(merged("tiny_detector"))
    save_model(write_quantized(model, target, recipe='{"a": 1}'), tmp_path / "q.onnx")
    props = load_model(tmp_path / "q.onnx").metadata_props
    assert detector_from_metadata(props, "") == model.detector
    assert (props[TARGET], props[VERSION]) == ("tensorrt: why", __version__)
    assert props[RECIPE] == '{"a": 1}'


def test_a_float_file_says_so() -> None:
    props = write_float(merged("tiny_detector")).metadata_props
    assert props[TARGET] == "float"
    assert RECIPE not in props


@pytest.mark.parametrize("target", [PLAIN, Target("other", note="x")])
def test_every_dialect_has_the_models_own_bits(target: Target, tmp_path: Path) -> None:
    model = quantized(merged("tiny_detector"))
    save_model(write_quantized(model, target, batch=1, recipe="{}"), tmp_path / "q.onnx")
    read = load_model(tmp_path / "q.onnx")
    for mine, theirs in zip(weights_of(model.graph), weights_of(read), strict=True):
        assert mine[0] == theirs[0]
        assert [x.tobytes() for x in mine[1:]] == [x.tobytes() for x in theirs[1:]]
    assert {k: v.tobytes() for k, v in scales_of(model.graph).items()} == {
        k: v.tobytes() for k, v in scales_of(read).items()
    }


def test_writing_leaves_the_model_alone_and_gives_the_same_bytes(tmp_path: Path) -> None:
    model = quantized(merged("tiny_detector"))
    before = content(model.graph)
    for name in ("one", "two"):
        save_model(write_quantized(model, PLAIN, batch=2, recipe="{}"), tmp_path / f"{name}.onnx")
    assert content(model.graph) == before
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_blocks_and_stages_survive_the_file(tmp_path: Path) -> None:
    model = merged("tiny_detector")
    save_model(write_float(model), tmp_path / "f.onnx")
    read = type(model)(load_model(tmp_path / "f.onnx"), model.detector)
    assert read.stages == model.stages
    assert [(b.name, b.kind, b.stage) for b in read.blocks] == [
        (b.name, b.kind, b.stage) for b in model.blocks
    ]


def test_another_batch_than_the_networks_own_is_refused() -> None:
    model = merged("tiny_detector")
    fixed = type(model)(write_float(model, batch=3), model.detector)
    assert fixed.batch == 3
    assert write_float(fixed, batch=3).graph.inputs[0].shape[0] == 3
    with pytest.raises(InputError, match=r"^--batch: the network takes 3 images at a time, not 2"):
        write_float(fixed, batch=2)


def test_what_others_wrote_stays() -> None:
    model = merged("tiny_detector")
    graph = model.graph.clone()
    graph.metadata_props.update({"author": "somebody", "detq.old": "x"})
    props = write_float(type(model)(graph, model.detector)).metadata_props
    assert props["author"] == "somebody"
    assert "detq.old" not in props
