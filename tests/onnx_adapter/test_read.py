from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from detq.errors import InputError, ModelError
from detq.graph.build import BLOCK, DECODE, STAGE
from detq.graph.slices import nodes_between
from detq.model import FloatModel
from tests.engines import assert_within_range
from tests.onnx_adapter.conftest import Read
from tests.onnx_adapter.engine import images, outputs
from tests.onnx_adapter.graphs import CLASSES, detector

OPSETS = (11, 13, 17, 19, 21)
CELLS = 8 * 8 + 4 * 4


def content(model: FloatModel) -> bytes:
    return bytes(ir.to_proto(model.graph).SerializeToString())


def operators(model: FloatModel) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.graph)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("batch", [1, "N"])
def test_every_opset_becomes_the_same_graph(read: Read, opset: int, batch: int | str) -> None:
    source = detector(opset, batch=batch)
    model = read(source)
    assert model.graph.graph.opset_imports == {"": 17}
    assert operators(model) == operators(read(detector(17, batch=batch)))
    x = images(1 if batch == 1 else 3)
    (wanted,), (got,) = outputs(source.SerializeToString(), x), outputs(content(model), x)
    assert_within_range(got, wanted, 1e-6)
    assert model.batch == (1 if batch == 1 else None)


@pytest.mark.parametrize("opset", OPSETS)
def test_any_image_size_becomes_one(read: Read, opset: int) -> None:
    source = detector(opset, size=("h", "w"))
    model = read(source, (64, 32))
    assert model.detector.size == (64, 32)
    assert not {"Shape", "Range", "Gather", "Expand", "Cast"} & set(operators(model))
    x = images(2, 64, 32)
    (wanted,), (got,) = outputs(source.SerializeToString(), x), outputs(content(model), x)
    assert_within_range(got, wanted, 1e-6)


def test_the_contract_is_read_from_the_graph(read: Read) -> None:
    found = read(detector()).detector
    assert (found.strides, found.size, found.layout) == ((4, 8), (32, 32), "rows")
    assert found.names == ("class_0", "class_1", "class_2")
    assert found.family == "model"
    assert found.source.startswith("model.onnx sha256:")


def test_channels_are_recognised(read: Read) -> None:
    model = read(detector(channels=True), names=["a", "b", "c"])
    assert model.detector.layout == "channels"
    assert model.detector.names == ("a", "b", "c")
    shape = model.graph.graph.outputs[0].shape
    assert shape is not None
    assert list(shape)[1:] == [4 + CLASSES, CELLS]


def test_metadata_is_read_and_kept(read: Read) -> None:
    metadata = {
        "names": "{0: 'cat', 1: 'dog', 2: \"owl's\"}",
        "imgsz": "[32, 64]",
        "stride": "8",
        "task": "detect",
        "description": "Some  network",
        "author": "somebody",
    }
    model = read(detector(size=("h", "w"), metadata=metadata))
    assert model.detector.names == ("cat", "dog", "owl's")
    assert model.detector.size == (32, 64)
    assert model.detector.family == "Some network"
    assert model.graph.metadata_props["author"] == "somebody"


def test_another_task_is_refused(read: Read) -> None:
    with pytest.raises(InputError, match="is a model for 'pose'"):
        read(detector(metadata={"task": "pose"}))


def test_every_node_has_its_name_and_its_stage(read: Read) -> None:
    model = read(detector())
    graph = model.graph.graph
    names = [node.name for node in graph]
    assert len(set(names)) == len(names)
    assert {"stem.dense", "down", "head.0.cls_pred", "residual.a"} <= set(names)
    assert all(node.metadata_props.get(STAGE) for node in graph)
    first = {str(node.name): node for node in graph}["stem.dense"]
    assert first.outputs[0].name == "stem.dense"
    assert str(first.inputs[1].name if first.inputs[1] else "") == "stem.dense.weight"
    assert [value.name for value in (*graph.inputs, *graph.outputs)] == ["images", "output0"]


def test_stages_follow_the_resolution(read: Read) -> None:
    model = read(detector())
    assert model.stages == (
        "stage_1", "stage_2", "stage_3", "stage_4", "head.level_0", "head.level_1", DECODE,
    )  # fmt: skip
    stage_of = {str(n.name): n.metadata_props[STAGE] for n in model.graph.graph}
    assert stage_of["stem.dense"] == "stage_1"
    assert stage_of["stage.1.dense"] == "stage_2"
    assert stage_of["gate.expand"] == "stage_3"
    assert stage_of["lateral"] == stage_of["fuse"] == "stage_4"
    assert stage_of["head.1.reg"] == "head.level_1"


def test_every_stage_can_be_cut_out(read: Read) -> None:
    model = read(detector())
    graph = model.graph.graph
    for stage in model.stages:
        inside = [node for node in graph if node.metadata_props[STAGE] == stage]
        reads = [x for node in inside for x in node.inputs if x is not None]
        feeds = {str(x.name) for x in reads
                 if x.const_value is None and x.producer() not in inside}  # fmt: skip
        makes = [x for node in inside for x in node.outputs]
        wanted = [
            str(x.name)
            for x in makes
            if x.is_graph_output() or any(use.node not in inside for use in x.uses())
        ]
        assert list(nodes_between(graph, feeds, wanted)) == inside


def test_blocks_are_units(read: Read) -> None:
    model = read(detector())
    kinds = {block.name: block.kind for block in model.blocks}
    assert kinds["stem"] == kinds["stage.0"] == kinds["stage.1"] == "branches"
    assert kinds["residual"] == "residual"
    assert kinds["gate.expand"] == "gate"
    assert kinds["fuse"] == "convolution"
    residual = next(block for block in model.blocks if block.name == "residual")
    assert sorted(node.op_type for node in residual.nodes) == [
        "Add", "Conv", "Conv", "Mul", "Sigmoid",
    ]  # fmt: skip
    assert all(BLOCK not in node.metadata_props for node in model.graph.graph
               if node.metadata_props[STAGE] == DECODE)  # fmt: skip


def test_a_graph_without_names_gets_some(read: Read) -> None:
    names = [str(node.name) for node in read(detector(named=False)).graph.graph]
    assert len(set(names)) == len(names)
    assert all(name.isprintable() and "/" not in name for name in names)
    assert "block_0.conv" in names


def test_a_written_model_is_read_with_its_own_marks(read: Read) -> None:
    first = read(detector())
    again = read(ir.to_proto(first.graph))
    assert again.stages == first.stages
    assert [block.name for block in again.blocks] == [block.name for block in first.blocks]
    assert again.detector.names == first.detector.names


@pytest.mark.parametrize(
    ("options", "size", "words"),
    [
        ({}, (64, 64), r"is made for images of 32x32, not 64x64 \(leave the size out"),
        ({"size": ("h", "w")}, None, r"takes images of any size \(give --size\)"),
        ({"size": ("h", "w")}, (9000, 32), "images of 9000x32"),
        ({"size": ("h", "w")}, (36, 36), "does not fit its inputs"),
    ],
)
def test_a_size_that_cannot_be_is_refused(
    read: Read, options: dict[str, object], size: tuple[int, int] | None, words: str
) -> None:
    with pytest.raises((InputError, ModelError), match=words) as caught:
        read(detector(**options), size)  # type: ignore[arg-type]
    assert "model.onnx" in str(caught.value)


def test_half_precision_leaves_no_casts(read: Read) -> None:
    """As Ultralytics writes it: float outside, cast to half and back at the ends."""
    proto = detector(17, batch=1)
    cast = helper.make_node("Cast", ["images"], ["images_half"], name="cast", to=10)
    for node in proto.graph.node:
        node.input[:] = ["images_half" if name == "images" else name for name in node.input]
    proto.graph.node.insert(0, cast)
    kinds = [node.op_type for node in read(proto).graph.graph]
    assert "Cast" not in kinds


def test_half_precision_becomes_single(read: Read) -> None:
    source = detector(17, batch=1)
    halved = detector(17, batch=1)
    for tensor in halved.graph.initializer:
        if tensor.data_type == 1:
            array = np.frombuffer(tensor.raw_data, np.float32)
            tensor.raw_data, tensor.data_type = array.astype(np.float16).tobytes(), 10
    for node in halved.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == 1:
                attribute.i = 10
    for value in (*halved.graph.input, *halved.graph.output):
        value.type.tensor_type.elem_type = 10
    x = images(1)
    (wanted,) = outputs(source.SerializeToString(), x)
    (got,) = outputs(content(read(halved)), x)
    assert_within_range(got, wanted, 1e-2)
