import numpy as np
import pytest

from detq.detection import Detector
from detq.graph.build import DECODE, STAGE, Builder
from detq.model import FloatModel

DETECTOR = Detector(family="tiny", names=("a",), strides=(8,), size=(8, 8))


@pytest.fixture
def model() -> FloatModel:
    builder = Builder("net")
    x = builder.input("images", ("B", 3, 8, 8))
    weight = np.ones((3, 3, 1, 1), np.float32)
    row = np.ones(3, np.float32)
    with builder.stage("backbone"), builder.scope("stem"), builder.block("RepVGGBlock"):
        dense = builder.conv(x, weight, row)
        same = builder.batch_norm(x, row, row, row, row, eps=1e-3)
        x = builder.elementwise("Add", dense, same)
    with builder.stage("neck"):
        x = builder.reshape(builder.resize_nearest(x, 2), (3, -1))
        with builder.scope("last"), builder.block("Softmax"):
            x = builder.elementwise("Softmax", x)
    with builder.stage(DECODE):
        x = builder.elementwise("Mul", x, builder.constant("strides", row[:, None]))
    return FloatModel(builder.finish({"outputs": x}), DETECTOR)


def test_blocks_are_read_from_the_graph(model: FloatModel) -> None:
    first, second = model.blocks
    assert (first.name, first.kind, first.stage) == ("stem", "RepVGGBlock", "backbone")
    assert [node.op_type for node in first.nodes] == ["Conv", "BatchNormalization", "Add"]
    assert (second.name, second.kind, second.stage) == ("last", "Softmax", "neck")


def test_a_block_outside_any_stage(model: FloatModel) -> None:
    for node in model.graph.graph:
        node.metadata_props.pop(STAGE, None)
    assert [block.stage for block in model.blocks] == ["", ""]
    assert model.stages == ()


def test_stages_in_the_order_of_the_graph(model: FloatModel) -> None:
    assert model.stages == ("backbone", "neck", DECODE)


def test_parameters_are_what_training_changes(model: FloatModel) -> None:
    weight, bias, gain, shift = 9, 3, 3, 3  # no running statistics, scales of Resize, strides
    assert model.parameters == weight + bias + gain + shift
