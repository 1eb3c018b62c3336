import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from detq.model import FloatModel
from detq.torch_file.module import Module
from yolov6_adapter import read_checkpoint, source_from_checkpoint

FIXTURES = [
    "v4_n_fuseab_train",
    "v4_n_finetune_80",
    "v4_n_distill_ns",
    "v4_s_fuseab",
    "v4_m",
    "v4_n_fused",
    "v4_l",
    "v4_n_deploy",
    "v4_n6",
    "v4_m6",
    "v4_l6_legacy",
    "base_n",
    "base_m",
    "mbla_s",
    "mbla_x",
    "lite_s",
    "lite_l",
    "qa_n_v2",
    "qa_m_v2",
    "qa_n_v1",
    "qa_n_v2_deploy_f32",
    "repopt_n_opt",
    "repopt_n_hs",
    "seg_n",
    "seg_l",
    "face_n",
    "v1_n_train",
    "v1_t_legacy",
    "v2_n_oldzip",
    "v2_s_f32",
    "v2_t_repdeploy",
    "v2_m",
    "v2_l",
    "v2_n_base",
    "v3_n_fuseab",
    "v3_s_distill_ns",
]
Arrays = Mapping[str, NDArray[Any]]


@pytest.fixture(scope="session")
def index(data: Path) -> dict[str, Any]:
    entries = json.loads((data / "fixtures" / "index.json").read_text())["fixtures"]
    return {entry["name"]: entry for entry in entries}


def run(model: FloatModel, images: NDArray[np.float32], names: Sequence[str]) -> Arrays:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    serialized = ir.serde.serialize_model(model.graph).SerializeToString()
    session = ort.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(list(names), {"images": images}), strict=True))


def built(data: Path, name: str, images: NDArray[np.float32]) -> FloatModel:
    checkpoint = read_checkpoint(data / "fixtures" / f"{name}.pt")
    return source_from_checkpoint(checkpoint, (images.shape[2], images.shape[3]))


def assert_close(got: NDArray[Any], golden: NDArray[Any], tolerance: float) -> None:
    assert got.shape == golden.shape
    assert float(np.abs(got - golden).max()) <= tolerance


def test_no_fixture_is_left_out(index: dict[str, Any]) -> None:
    assert list(index) == FIXTURES


def assert_golden(model: FloatModel, about: Mapping[str, Any], golden: Arrays, key: str) -> None:
    pixels, tolerance = 14 if about["family"].startswith("face") else 4, about["tolerance"]
    images = golden[key].astype(np.float32) / 255
    wanted = golden[key.replace("input_u8", "out_eval")]
    outputs = run(model, images, [str(value.name) for value in model.graph.graph.outputs])
    got = outputs["outputs"]
    assert_close(got[..., :pixels], wanted[..., :pixels], tolerance["box_px_abs"])
    assert_close(got[..., pixels:], wanted[..., pixels:], tolerance["score_abs"])
    if "out_eval_segconf" in golden:
        wanted = golden["out_eval_segconf"][..., 1:]  # the first column is the level
        assert_close(outputs["mask_coefficients"], wanted, 1e-4 * abs(wanted).max())
        wanted = golden["out_eval_proto0"]
        assert_close(outputs["prototypes"], wanted, 1e-4 * abs(wanted).max())


@pytest.mark.parametrize("name", FIXTURES)
def test_outputs_are_those_of_the_official_code(
    data: Path, index: dict[str, Any], name: str
) -> None:
    about, golden = index[name], np.load(data / "fixtures" / f"{name}.npz")
    for key in (key for key in golden if key.startswith("input_u8")):
        model = built(data, name, golden[key])
        assert_golden(model, about, golden, key)
        assert model.detector.strides == tuple(about["strides"])
        assert len(model.detector.names) == about["num_classes"]


@pytest.mark.parametrize("name", FIXTURES)
def test_outputs_are_the_same_after_merging(data: Path, index: dict[str, Any], name: str) -> None:
    pytest.importorskip("torch", reason="merging is checked in torch")
    from detq.transforms import DEFAULT, transform

    golden = np.load(data / "fixtures" / f"{name}.npz")
    source = built(data, name, golden["input_u8"])
    model = transform(source, DEFAULT)
    assert_golden(model, index[name], golden, "input_u8")
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.graph)
    weights = [key for key in golden if key.startswith("merged/") and key.endswith(".weight")]
    root = read_checkpoint(data / "fixtures" / f"{name}.pt").root
    for key in weights:
        path = key.removeprefix("merged/").removesuffix(".weight")
        wanted, bias = golden[key].astype(np.float64), golden[f"merged/{path}.bias"]
        assert_merged(model, root, path, wanted, bias.astype(np.float64))


def assert_merged(
    model: FloatModel, root: Module, path: str, weight: NDArray[Any], bias: NDArray[Any]
) -> None:
    """One layer of the official merged network, and the normalization left behind its sum."""
    block, tolerance = path.removesuffix(".rbr_reparam"), 1e-5
    after = inside(root, block).children.get("bn") if block != path else None
    if after is not None:
        names = ("weight", "bias", "running_mean", "running_var")
        gain, shift, mean, variance = (after.array(part, 1).astype(np.float64) for part in names)
        factor = gain / np.sqrt(variance + after.number("eps"))
        weight, bias = weight * factor.reshape(-1, 1, 1, 1), (bias - mean) * factor + shift
        tolerance *= max(1.0, float(abs(factor).max()))
    for part, wanted in (("weight", weight), ("bias", bias)):
        name = f"{path}.{part}" if block == path else f"{block}.conv.{part}"
        value = model.graph.graph.initializers[name].const_value
        assert value is not None
        np.testing.assert_allclose(value.numpy(), wanted, atol=tolerance, rtol=1e-5)


def inside(root: Module, path: str) -> Module:
    for part in path.split("."):
        root = root.child(part)
    return root


def test_merged_layers_of_every_kind_are_compared(data: Path) -> None:
    found = Counter[str]()
    for name in FIXTURES:
        root = read_checkpoint(data / "fixtures" / f"{name}.pt").root
        for key in np.load(data / "fixtures" / f"{name}.npz"):
            if key.startswith("merged/") and key.endswith(".rbr_reparam.weight"):
                path = key.removeprefix("merged/").removesuffix(".rbr_reparam.weight")
                found[inside(root, path).name] += 1
    assert found["RepVGGBlock"] >= 10 and found["QARepVGGBlockV2"] >= 2


@pytest.mark.parametrize("name", ["v4_n_fuseab_train", "v4_n6", "v1_n_train", "seg_n", "lite_s"])
def test_values_between_are_those_of_the_official_code(data: Path, name: str) -> None:
    golden = np.load(data / "fixtures" / f"{name}.npz")
    images = golden["input_u8"].astype(np.float32) / 255
    model = built(data, name, images)
    values = {
        key: key.replace("head_", "detect.").replace("preds", "preds.").replace("_.", ".")
        for key in golden
        if key.startswith("head_")
    }
    stages = {str(n.metadata_props.get("detq.stage")): n.outputs[0] for n in model.graph.graph}
    if "backbone_stem" in golden:
        values["backbone_stem"] = str(stages["backbone.stem"].name)
    last = next(stage for stage in reversed(model.stages) if stage.startswith("backbone."))
    values[max(key for key in golden if key.startswith("backbone_out"))] = str(stages[last].name)
    outputs = {value: v for n in model.graph.graph for v in n.outputs if (value := str(v.name))}
    for value in values.values():
        model.graph.graph.outputs.append(outputs[value])
    got = run(model, images, list(values.values()))
    assert len(values) >= 7
    for key, value in values.items():
        wanted = golden[key]
        assert_close(got[value], wanted, 1e-4 + 1e-4 * float(abs(wanted).max()))
