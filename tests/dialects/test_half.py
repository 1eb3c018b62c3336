from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from detq.dialects.half import FLOAT, HALF, SMALLEST_SCALE, half_body
from detq.dialects.opset import lowest_opset
from detq.graph.build import DECODE, STAGE
from detq.graph.qdq import DQ, Q
from detq.graph.stored import array_of
from detq.quantized import QuantizedModel, scales_of, weights_of
from detq.target import Target
from tests.engines import assert_within_range, in_interpreter, in_onnxruntime
from tests.steps import images, merged, quantized
from tests.zoo import ZOO

NEW = Target("new", opset=19, opset_ceiling=20)


def content(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString(deterministic=True)


def halved(model: ir.Model) -> ir.Model:
    copy = model.clone()
    lowest_opset(copy, NEW)
    half_body(copy)
    return copy


def with_scale(model: QuantizedModel, name: str, factor: float) -> ir.Model:
    """The same graph with other scales of one layer's weights."""
    copy = model.graph.clone()
    value = copy.graph.initializers[name]
    assert value.const_value is not None
    scale = value.const_value.numpy() * np.float32(factor)
    value.const_value = ir.tensor(scale.astype(np.float32), name=name)
    return copy


@pytest.mark.parametrize("name", ZOO)
def test_quantized_networks_compute_what_they_did(name: str) -> None:
    before = quantized(merged(name)).graph
    after = halved(before)
    onnx.checker.check_model(ir.to_proto(after), full_check=True)
    feeds = {"images": images(merged(name), 2)}
    wanted, found = in_onnxruntime(before, feeds), in_onnxruntime(after, feeds)
    for output, array in wanted.items():
        assert found[output].dtype == np.float32
        # A value on the edge between two integers may fall on either side: one step of many.
        assert_within_range(found[output], array, 0.06, output)
        assert float(np.abs(found[output] - array).mean()) < 0.006 * float(np.ptp(array))


@pytest.mark.parametrize("name", ZOO)
def test_float_networks_lose_no_more_than_float16_does(name: str) -> None:
    before = merged(name).graph
    after = before.clone()
    half_body(after)
    onnx.checker.check_model(ir.to_proto(after), full_check=True)
    feeds = {"images": images(merged(name), 2)}
    wanted, found = in_onnxruntime(before, feeds), in_onnxruntime(after, feeds)
    for output, array in wanted.items():
        assert_within_range(found[output], array, 4e-3, output)


@pytest.mark.parametrize("name", ["tiny_detector", "lite", "upsample"])
def test_the_interpreter_runs_the_types_of_the_file(name: str) -> None:
    model = halved(quantized(merged(name)).graph)
    feeds = {"images": images(merged(name), 2)}
    found, wanted = in_interpreter(model, feeds), in_onnxruntime(model, feeds)
    for output, array in wanted.items():
        assert_within_range(found[output], array, 0.06, output)


def test_integers_are_the_same_and_scales_are_rounded() -> None:
    before = quantized(merged("tiny_detector")).graph
    after = halved(before)
    for one, other in zip(weights_of(before), weights_of(after), strict=True):
        assert one[0] == other[0]
        assert one[1].tobytes() == other[1].tobytes()
        assert other[2].dtype == np.float16
        np.testing.assert_array_equal(other[2], one[2].astype(np.float16))
    wanted, found = scales_of(before), scales_of(after)
    assert wanted.keys() == found.keys()
    for tensor, scale in wanted.items():
        assert float(found[tensor]) == float(scale.astype(np.float16))


def types_of(model: ir.Model, kind: str) -> Counter[ir.DataType]:
    return Counter(node.outputs[0].dtype for node in model.graph if node.op_type == kind)  # type: ignore[misc]


def test_the_body_is_float16_and_its_ends_are_float32() -> None:
    model = halved(quantized(merged("tiny_detector")).graph)
    assert {x.dtype for x in (*model.graph.inputs, *model.graph.outputs)} == {FLOAT}
    convolutions = [node for node in model.graph if node.op_type == "Conv"]
    assert {x.dtype for node in convolutions for x in node.inputs} == {HALF}
    decode = [node for node in model.graph if node.metadata_props.get(STAGE) == DECODE]
    floats = {y.dtype for node in decode for y in node.outputs if node.op_type != "Shape"}
    assert FLOAT in floats and HALF not in floats


def test_between_int8_layers_there_is_no_cast() -> None:
    model = halved(quantized(merged("tiny_detector")).graph)
    predictions = [node for node in model.graph if node.name and "pred" in node.name]
    casts = [node for node in model.graph if node.op_type == "Cast"]
    assert casts and all(
        cast.inputs[0].producer() in predictions for cast in casts if cast.inputs[0]
    )


def test_the_first_q_reads_the_images_as_they_are() -> None:
    model = halved(quantized(merged("residual")).graph)
    q = next(node for node in model.graph if node.op_type == Q)
    assert q.inputs[0] is model.graph.inputs[0]
    assert q.inputs[1] is not None and q.inputs[1].dtype == FLOAT
    dq = next(iter(q.outputs[0].consumers()))
    assert dq.inputs[1] is not None and dq.inputs[1].dtype == HALF
    assert float(array_of(q.inputs[1])) == float(array_of(dq.inputs[1]))  # type: ignore[arg-type]


def test_a_layer_with_scales_too_small_for_float16_stays_float32() -> None:
    name = "block.conv.weight.scale"
    before = with_scale(quantized(merged("conv_bn")), name, 1e-3)
    after = halved(before)
    onnx.checker.check_model(ir.to_proto(after), full_check=True)
    nodes: Mapping[str, ir.Node] = {str(node.name): node for node in after.graph}
    assert {x.dtype for x in nodes["block.conv"].inputs} == {FLOAT}
    assert nodes["block.relu"].outputs[0].dtype == FLOAT  # goes on with what it made
    assert nodes["stem.conv"].outputs[0].dtype == HALF
    feeds = {"images": images(merged("conv_bn"), 2)}
    wanted, found = in_onnxruntime(before, feeds), in_onnxruntime(after, feeds)
    assert_within_range(found["outputs"], wanted["outputs"], 0.02)


@pytest.mark.parametrize("name", ZOO)
def test_no_float16_scale_is_below_the_smallest_normal_number(name: str) -> None:
    graph = quantized(merged(name))
    scales = [n for n in graph.graph.graph.initializers if n.endswith("weight.scale")]
    model = halved(with_scale(graph, scales[-1], 1e-3))
    for node in model.graph:
        scale = array_of(node.inputs[1]) if node.op_type in (Q, DQ) else None
        if scale is not None and scale.dtype == np.float16:
            assert float(scale.min()) >= SMALLEST_SCALE


def test_numbers_beyond_float16_stay_float32() -> None:
    model = merged("residual").graph.clone()
    bias = next(n for n in model.graph if n.op_type == "Conv").inputs[2]
    assert bias is not None and bias.const_value is not None
    large: NDArray[np.float32] = bias.const_value.numpy() + np.float32(1e5)
    bias.const_value = ir.tensor(large, name=bias.name)
    half_body(model)
    first = next(node for node in model.graph if node.op_type == "Conv")
    assert {x.dtype for x in first.inputs} == {FLOAT}
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


@pytest.mark.parametrize("name", ["tiny_detector", "residual"])
def test_a_second_run_changes_nothing(name: str) -> None:
    model = halved(quantized(merged(name)).graph)
    before = content(model)
    half_body(model)
    assert content(model) == before


def test_outputs_keep_their_names() -> None:
    model = merged("residual").graph.clone()
    names = [x.name for x in model.graph.outputs]
    half_body(model)
    assert [x.name for x in model.graph.outputs] == names
    assert types_of(model, "Cast")[FLOAT] == 1
