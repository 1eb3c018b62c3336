import numpy as np
import onnx
import onnx_ir as ir
import pytest

from detq.dialects.float_weights import float_weights
from detq.graph.qdq import DQ, Q
from detq.graph.stored import array_of
from detq.quantized import weights_of
from detq.target import PLAIN, Target, with_grids
from tests.engines import in_onnxruntime
from tests.steps import images, merged, quantized
from tests.zoo import ZOO

COARSE = with_grids(PLAIN, weight_bits=4, activation_bits=8, per_tensor_weights=True)


def written(name: str, target: Target = PLAIN) -> tuple[ir.Model, ir.Model]:
    before = quantized(merged(name), target).graph
    after = before.clone()
    float_weights(after)
    return before, after


def content(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString(deterministic=True)


@pytest.mark.parametrize("target", [PLAIN, COARSE])
@pytest.mark.parametrize("name", ZOO)
def test_q_gives_every_integer_back(name: str, target: Target) -> None:
    before, after = written(name, target)
    wanted = {weight: (w, scale) for weight, w, scale in weights_of(before)}
    found = {weight: (w, scale) for weight, w, scale in weights_of(after)}
    assert wanted.keys() == found.keys() and wanted
    for weight, (integers, scale) in wanted.items():
        assert found[weight][0].dtype == np.int8
        assert found[weight][0].tobytes() == integers.tobytes()
        assert found[weight][1].tobytes() == scale.tobytes()


def test_onnxruntime_gives_the_same_integers() -> None:
    before, after = written("upsample")
    graph = after.graph
    pairs = [node for node in graph if node.op_type == Q and array_of(node.inputs[0]) is not None]
    for q in pairs:
        graph.outputs.append(q.outputs[0])
    found = in_onnxruntime(after, {"images": images(merged("upsample"), 1)})
    wanted = {weight: integers for weight, integers, _ in weights_of(before)}
    assert len(pairs) == len(wanted)
    for q in pairs:
        assert q.inputs[0] is not None
        assert found[str(q.outputs[0].name)].tobytes() == wanted[str(q.inputs[0].name)].tobytes()


@pytest.mark.parametrize("name", ["repvgg", "upsample", "tiny_detector"])
def test_outputs_stay_bit_for_bit(name: str) -> None:
    before, after = written(name)
    feeds = {"images": images(merged(name), 2)}
    wanted, found = in_onnxruntime(before, feeds), in_onnxruntime(after, feeds)
    for output, array in wanted.items():
        np.testing.assert_array_equal(found[output], array)


def test_three_inputs_and_no_stored_integers() -> None:
    _, after = written("tiny_detector")
    pairs = [node for node in after.graph if node.op_type in (Q, DQ)]
    assert all(len(node.inputs) == 3 and None not in node.inputs for node in pairs)
    stored = [x for x in after.graph.initializers.values() if x.dtype == ir.DataType.INT8]
    assert all(str(x.name).endswith("zero_point") for x in stored)
    onnx.checker.check_model(ir.to_proto(after), full_check=True)


def test_a_second_run_changes_nothing() -> None:
    _, after = written("residual")
    before = content(after)
    float_weights(after)
    assert content(after) == before


def test_a_float_graph_is_left_alone() -> None:
    model = merged("residual").graph.clone()
    before = content(model)
    float_weights(model)
    assert content(model) == before
