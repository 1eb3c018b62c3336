import numpy as np
import onnx_ir as ir
import pytest

from detq.dialects.float_weights import float_weights
from detq.graph.build import Builder
from detq.graph.qdq import DQ, along, pair_behind, stored_behind
from detq.numerics import Grid
from detq.quantized import weights_of
from tests.engines import in_onnxruntime
from tests.steps import UNSIGNED, merged, quantized


def test_a_pair_around_a_tensor() -> None:
    graph = quantized(merged("repvgg"), UNSIGNED).graph.graph
    dq = next(node for node in graph if node.name == "stem.relu.dequantize")
    pair = pair_behind(dq.outputs[0])
    assert pair is not None
    assert (pair.tensor.name, pair.q.name, pair.dq) == ("stem.relu", "stem.relu.quantize", dq)
    assert (pair.scale.name, pair.zero_point) == ("stem.relu.scale", 0)


def test_a_zero_point_in_the_middle() -> None:
    shifted = Grid(shifted=True)
    assert shifted.zero_point == 128
    b = Builder("one")
    x = b.input("images", [2, 3])
    parts = (b.constant("s", np.float32(0.5)), b.constant("z", np.uint8(128)))
    model = b.finish({"outputs": b.op(DQ, b.op("QuantizeLinear", x, *parts), *parts)})
    pair = pair_behind(model.graph.outputs[0])
    assert pair is not None and pair.zero_point == 128


def test_what_is_no_pair() -> None:
    graph = quantized(merged("repvgg")).graph.graph
    layer = next(node for node in graph if node.name == "block.conv")
    assert pair_behind(None) is None
    assert pair_behind(graph.inputs[0]) is None
    assert pair_behind(layer.outputs[0]) is None
    assert pair_behind(layer.inputs[1]) is None  # stored
    assert stored_behind(layer.inputs[0]) is None  # computed
    assert stored_behind(layer.inputs[2]) is None  # a bias


@pytest.mark.parametrize("rounded_by", ["detq", "the file"])
def test_integers_behind_weights(rounded_by: str) -> None:
    model = quantized(merged("upsample")).graph.clone()
    if rounded_by == "the file":
        float_weights(model)
    axes = {
        node.op_type: stored.axis
        for node in model.graph
        if len(node.inputs) > 1 and (stored := stored_behind(node.inputs[1])) is not None
    }
    assert axes == {"Conv": 0}
    for _, integers, scale in weights_of(model):
        assert integers.dtype == np.int8 and len(scale) == len(integers)


def test_unsigned_weights_in_front_of_a_q_are_rounded_as_onnxruntime_does() -> None:
    b = Builder("one")
    x = b.input("images", [1])
    weights = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    scale = b.constant("s", np.array([0.01, 0.1, 0.003], np.float32))
    zero = b.constant("z", np.array([128, 3, 250], np.uint8))
    q = b.op("QuantizeLinear", b.constant("w", weights), scale, zero, axis=0)
    dq = b.op(DQ, q, scale, zero, axis=0)
    dq.shape = q.shape = ir.Shape([3, 4])
    q.type = ir.TensorType(ir.DataType.UINT8)
    model = b.finish({"outputs": b.elementwise("Add", dq, x), "q": q})
    found = stored_behind(dq)
    assert found is not None and found.zero_point is not None and found.axis == 0
    wanted = in_onnxruntime(model, {"images": np.zeros(1, np.float32)})["q"]
    np.testing.assert_array_equal(found.integers, wanted)
    assert found.integers.dtype == np.uint8


def test_numbers_per_channel_go_with_a_tensor() -> None:
    numbers = np.arange(3.0)
    assert along(1, numbers, 4).shape == (1, 3, 1, 1)
    assert along(None, np.ones(1), 4).shape == ()
