import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from detq.errors import CheckpointError, InputError, UnsupportedBlockError
from detq.graph.build import BLOCK, DECODE, STAGE
from detq.graph.files import detector_from_metadata
from detq.model import FloatModel
from yolov6_adapter import read_checkpoint, source_from_checkpoint


@pytest.fixture(scope="session")
def person(data: Path) -> FloatModel:
    checkpoint = read_checkpoint(data / "person" / "person_yolov6n_ckpt.pt")
    return source_from_checkpoint(checkpoint, (224, 224))


def changed(data: Path, folder: Path, before: bytes, after: bytes) -> Path:
    # A file of the old layout has no checksums, so a text in it can be replaced.
    content = (data / "fixtures" / "v1_t_legacy.pt").read_bytes()
    assert before in content and len(before) == len(after)
    path = folder / "changed.pt"
    path.write_bytes(content.replace(before, after))
    return path


def test_a_published_size_is_read_and_written_in_two_seconds(data: Path) -> None:
    start = time.process_time()
    checkpoint = read_checkpoint(data / "person" / "person_yolov6n_ckpt.pt")
    source_from_checkpoint(checkpoint, (640, 640))
    assert time.process_time() - start < 2


def test_parameters_are_those_of_the_checkpoint(person: FloatModel) -> None:
    projection = 17 + 17  # there, but not used without DFL
    assert person.parameters == 5_040_337 - projection


def test_names_are_those_of_the_state_dict(person: FloatModel) -> None:
    weights = person.graph.graph.initializers
    for name in (
        "backbone.stem.rbr_dense.conv.weight",
        "backbone.ERBlock_2.1.block.0.rbr_identity.weight",
        "backbone.ERBlock_5.2.cspsppf.cv7.block.bn.weight",
        "neck.Bifusion0.upsample.upsample_transpose.bias",
        "detect.cls_preds.2.bias",
    ):
        assert name in weights, name
    nodes = [node.name for node in person.graph.graph]
    assert "backbone.ERBlock_2.0.rbr_dense.bn" in nodes
    assert len(nodes) == len(set(nodes))


def test_branches_stay_apart(person: FloatModel) -> None:
    block = next(b for b in person.blocks if b.name == "backbone.ERBlock_3.1.conv1")
    assert (block.kind, block.stage) == ("RepVGGBlock", "backbone.ERBlock_3")
    kinds = Counter(node.op_type for node in block.nodes)
    assert kinds == {"Conv": 2, "BatchNormalization": 3, "Add": 2, "Relu": 1}


def test_stages_are_those_a_learner_works_on(person: FloatModel) -> None:
    assert person.stages == (
        *("backbone.stem", "backbone.ERBlock_2", "backbone.ERBlock_3", "backbone.ERBlock_4"),
        *("backbone.ERBlock_5", "backbone.ERBlock_5.2"),
        *("neck.Bifusion0", "neck.Rep_p4", "neck.Bifusion1", "neck.Rep_p3"),
        *("neck.Rep_n3", "neck.Rep_n4"),
        *("detect.level_0", "detect.level_1", "detect.level_2", DECODE),
    )


def test_prediction_layers_are_not_decoding(person: FloatModel) -> None:
    nodes = {str(node.name): node for node in person.graph.graph}
    predictions = [nodes[f"detect.{kind}_preds.{i}"] for kind in ("cls", "reg") for i in range(3)]
    for i, node in enumerate(predictions):
        assert node.metadata_props[STAGE] == f"detect.level_{i % 3}"
    decoded = [n for n in nodes.values() if n.metadata_props.get(STAGE) == DECODE]
    assert not any(node.op_type in ("Conv", "BatchNormalization") for node in decoded)


def test_every_layer_but_the_predictions_is_in_a_block(person: FloatModel) -> None:
    weighted = [n for n in person.graph.graph if n.op_type in ("Conv", "ConvTranspose")]
    alone = {str(n.name) for n in weighted if BLOCK not in n.metadata_props}
    assert alone == {f"detect.{kind}_preds.{i}" for kind in ("cls", "reg") for i in range(3)}


def test_bn_keeps_the_eps_of_the_checkpoint(person: FloatModel) -> None:
    norms = [n for n in person.graph.graph if n.op_type == "BatchNormalization"]
    assert len(norms) == 128
    assert {n.attributes["epsilon"].as_float() for n in norms} == {1e-3}


def test_the_file_carries_its_contract(data: Path, person: FloatModel) -> None:
    detector = detector_from_metadata(person.graph.metadata_props, "here")
    assert detector == person.detector
    assert (detector.family, detector.names, detector.size) == (
        "YOLOv6 N",
        ("class_0",),
        (224, 224),
    )
    assert detector.source.startswith("person_yolov6n_ckpt.pt sha256:687282c6b4e4")


def test_training_parts_are_dropped(data: Path) -> None:
    for name, part in (("v4_n_fuseab_train", "_ab"), ("v4_n_distill_ns", "_dist")):
        checkpoint = read_checkpoint(data / "fixtures" / f"{name}.pt")
        model = source_from_checkpoint(checkpoint, (64, 64))
        assert any(part in key for key in checkpoint.root.child("detect").children)
        assert not any(part in str(node.name) for node in model.graph.graph)


@pytest.mark.parametrize(("size", "valid"), [((100, 64), "128x64"), ((0, 32), "32x32")])
def test_a_size_that_does_not_fit_names_the_next(
    data: Path, size: tuple[int, int], valid: str
) -> None:
    checkpoint = read_checkpoint(data / "fixtures" / "v2_n_base.pt")
    with pytest.raises(InputError, match=f"multiples of 32 .*next valid size is {valid}"):
        source_from_checkpoint(checkpoint, size)


@pytest.mark.parametrize("strides", [(8, 16, 64), (8, 16)])
def test_strides_must_be_those_of_the_levels(data: Path, strides: tuple[int, ...]) -> None:
    checkpoint = replace(read_checkpoint(data / "fixtures" / "v2_n_base.pt"), strides=strides)
    with pytest.raises(CheckpointError, match=r"^detect: .*stride"):
        source_from_checkpoint(checkpoint, (128, 128))


def test_an_unknown_class_is_named_with_its_place(data: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(changed(data, tmp_path, b"SimSPPF", b"SimSPPX"))
    with pytest.raises(
        UnsupportedBlockError, match=r"^backbone.ERBlock_5.2: .*yolov6.layers.common.SimSPPX"
    ):
        source_from_checkpoint(checkpoint, (64, 64))


@pytest.mark.parametrize("branch", [b"rbr_1x1", b"rbr_identity"])
def test_a_branch_is_never_passed_over(data: Path, tmp_path: Path, branch: bytes) -> None:
    path = changed(data, tmp_path, branch, branch[:-1] + b"_")
    with pytest.raises(UnsupportedBlockError, match=r"^backbone.stem"):
        source_from_checkpoint(read_checkpoint(path), (64, 64))


def test_a_layer_that_nothing_uses_is_refused(data: Path, tmp_path: Path) -> None:
    # Without its objectness this head would pass for one of a later generation.
    path = changed(data, tmp_path, b"obj_preds", b"obj_predz")
    with pytest.raises(UnsupportedBlockError, match=r"^detect.obj_predz.0"):
        source_from_checkpoint(read_checkpoint(path), (64, 64))
