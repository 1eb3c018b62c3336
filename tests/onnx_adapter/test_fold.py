from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto

from detq.errors import ModelError
from onnx_adapter import follow
from onnx_adapter.fold import fold
from tests.onnx_adapter.engine import images, outputs
from tests.onnx_adapter.graphs import Net, flat, points


def folded(model: onnx.ModelProto) -> ir.Model:
    graph = ir.from_proto(model)
    fold(graph, graph.graph.inputs[0])
    ir.passes.common.RemoveUnusedNodesPass()(graph)
    return graph


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def same(model: onnx.ModelProto, batch: int) -> ir.Model:
    """Folded, and checked to compute the same to the last bit."""
    after = folded(model)
    x = images(batch, 8, 16)
    wanted = outputs(model.SerializeToString(), x)
    got = outputs(ir.to_proto(after).SerializeToString(), x)
    for a, b in zip(wanted, got, strict=True):
        np.testing.assert_array_equal(a, b)
    return after


@pytest.mark.parametrize("opset", [11, 17, 21])
@pytest.mark.parametrize("batch", [2, "N"])
def test_a_grid_of_points_becomes_numbers(opset: int, batch: int | str) -> None:
    net = Net(opset)
    grid = points(net, "images", 4)
    row = flat(net, "images", 3)
    first = net.split(row, 3, 1, 3)[0]
    after = same(net.finish([batch, 3, 8, 16], net.op("Add", first, grid)), 2)
    assert operators(after) == Counter({"Reshape": 1, "Split": 1, "Add": 1, "Identity": 1})


def test_a_reshape_copies_the_batch_or_works_it_out() -> None:
    net = Net()
    copied = flat(net, "images", 3)
    shape = net.op("Shape", "images")
    batch = net.op("Gather", shape, net.ints(0), axis=0)
    rows = net.op("Mul", batch, net.ints(8))  # depends on the batch, and is no copy
    joined = net.op("Reshape", "images", net.op("Concat", rows, net.ints(48), axis=0))
    after = same(net.finish(["N", 3, 8, 16], copied, joined), 5)
    stored = [node.inputs[1] for node in after.graph if node.op_type == "Reshape"]
    shapes = [x.const_value.numpy().tolist() for x in stored if x and x.const_value]
    assert shapes == [[0, 3, -1], [-1, 48]]


def test_what_cannot_be_stored_is_left_to_compute() -> None:
    net = Net()
    shape = net.op("Shape", "images")
    batch = net.op("Gather", shape, net.ints(0), axis=0)
    ones = net.op("ConstantOfShape", net.op("Concat", batch, net.ints(1, 1, 1), axis=0))
    after = same(net.finish(["N", 3, 8, 16], net.op("Add", "images", ones)), 3)
    assert operators(after)["ConstantOfShape"] == 1


def test_computed_sizes_of_a_resize_become_factors() -> None:
    net = Net()
    shape = net.op("Shape", "images")
    batch = net.op("Gather", shape, net.ints(0), axis=0)
    sizes = net.op("Concat", batch, net.ints(3, 16, 32), axis=0)
    wide = net.op("Resize", "images", "", "", sizes, mode="nearest", nearest_mode="floor",
                  coordinate_transformation_mode="asymmetric")  # fmt: skip
    after = same(net.finish(["N", 3, 8, 16], wide), 3)
    (resize,) = (node for node in after.graph if node.op_type == "Resize")
    scales = resize.inputs[2]
    assert scales is not None and scales.const_value is not None
    assert scales.const_value.numpy().tolist() == [1, 1, 2, 2]
    assert operators(after)["Shape"] == 0


def test_shapes_are_written_with_the_batch_left_open() -> None:
    net = Net()
    after = folded(net.finish(["N", 3, 8, 16], net.conv("images", 3, 4, 3, 2)))
    shape = after.graph[0].outputs[0].shape
    assert shape is not None
    assert list(shape) == [ir.SymbolicDim("N"), 4, 4, 8]


def test_a_batch_that_is_only_declared_becomes_one() -> None:
    net = Net()
    row = net.op("Reshape", "images", net.ints(1, 3, 128))
    after = folded(net.finish(["N", 3, 8, 16], row))
    shape = after.graph.inputs[0].shape
    assert shape is not None
    assert list(shape) == [1, 3, 8, 16]


@pytest.mark.parametrize(
    "numbers",
    [(10**9, 10**9, 10**9), (2**24, 1, 3)],
)
def test_a_huge_constant_is_not_made(numbers: tuple[int, ...]) -> None:
    net = Net()
    huge = net.op("ConstantOfShape", net.ints(*numbers))
    some = net.op("Slice", huge, net.ints(0), net.ints(1), net.ints(0))
    model = net.finish([1, 3, 8, 16], net.op("Reshape", some, net.ints(-1)))
    if np.prod([float(n) for n in numbers]) > follow.LARGEST_VALUE:
        with pytest.raises(ModelError, match="ConstantOfShape makes a value of"):
            folded(model)
    else:
        assert operators(folded(model))["ConstantOfShape"] == 1


def test_inputs_that_do_not_fit_are_told_with_the_node() -> None:
    net = Net()
    wrong = net.op("Add", "images", net.store(np.ones((5, 7), np.float32)), at="neck")
    with pytest.raises(ModelError, match=r"^/neck/Add: Add does not fit its inputs: "):
        folded(net.finish([1, 3, 8, 16], wrong))


@pytest.mark.parametrize("groups", [1, 2, 0])
def test_channels_that_do_not_fit_the_weights_are_told(groups: int) -> None:
    net = Net()
    wrong = net.op("Conv", "images", net.weight(4, 2, 1, 1), group=groups)
    with pytest.raises(ModelError, match="Conv does not fit its inputs"):
        folded(net.finish([1, 3, 8, 16], wrong))


def test_a_reshape_to_another_number_of_numbers_is_told() -> None:
    net = Net()
    wrong = net.op("Reshape", "images", net.ints(1, 3, 5))
    with pytest.raises(ModelError, match="Reshape does not fit its inputs"):
        folded(net.finish([1, 3, 8, 16], wrong))


def test_parts_that_are_not_there_are_told_without_making_them() -> None:
    net = Net(18)
    parts = net.op("Split", "images", outputs=2, axis=3, num_outputs=10**9)
    with pytest.raises(ModelError, match="Split does not fit its inputs"):
        folded(net.finish([1, 3, 8, 16], *parts))


def test_an_unknown_operator_leaves_the_shape_open() -> None:
    net = Net()
    odd = net.op("Odd", "images", domain="somewhere")
    after = folded(net.finish([1, 3, 8, 16], net.op("Relu", odd)))
    assert after.graph[1].outputs[0].shape is None


def test_the_type_of_a_content_is_kept() -> None:
    net = Net()
    count = net.op("Cast", net.op("Size", "images"), to=TensorProto.FLOAT)
    after = same(net.finish([2, 3, 8, 16], net.op("Mul", "images", count)), 2)
    (mul,) = (node for node in after.graph if node.op_type == "Mul")
    assert mul.inputs[1] is not None
    assert mul.inputs[1].dtype == ir.DataType.FLOAT
