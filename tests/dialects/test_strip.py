import numpy as np
import onnx
import onnx_ir as ir
import pytest

from detq.dialects.strip import Stripped, strip
from detq.graph.qdq import DQ, Q, along
from detq.quantized import scales_of, weights_of
from tests.engines import in_onnxruntime
from tests.steps import images, merged, quantized
from tests.zoo import ZOO


def stripped(name: str) -> Stripped:
    return strip(quantized(merged(name)).graph)


@pytest.mark.parametrize("name", ZOO)
def test_no_q_is_left_and_the_file_is_sound(name: str) -> None:
    graph = stripped(name).graph
    assert not [node for node in graph.graph if node.op_type in (Q, DQ)]
    kinds = {x.dtype for x in graph.graph.initializers.values()}
    assert ir.DataType.INT8 not in kinds
    onnx.checker.check_model(ir.to_proto(graph), full_check=True)


def test_weights_are_what_the_integers_stand_for() -> None:
    model = quantized(merged("upsample")).graph
    stored = strip(model).graph.graph.initializers
    for name, integers, scale in weights_of(model):
        axis = None if scale.ndim == 0 else 0
        wanted = integers.astype(np.float32) * along(axis, scale, integers.ndim)
        found = stored[name].const_value
        assert found is not None
        np.testing.assert_array_equal(found.numpy(), wanted)


def test_it_computes_with_unrounded_activations() -> None:
    feeds = {"images": images(merged("residual"), 2)}
    float_ = in_onnxruntime(merged("residual").graph, feeds)["outputs"]
    found = in_onnxruntime(stripped("residual").graph, feeds)["outputs"]
    rounded = in_onnxruntime(quantized(merged("residual")).graph, feeds)["outputs"]
    assert np.abs(found - float_).mean() < np.abs(rounded - float_).mean()


@pytest.mark.parametrize("name", ZOO)
def test_every_rounded_tensor_has_its_scale(name: str) -> None:
    found = stripped(name).scales
    for tensor, scale in scales_of(quantized(merged(name)).graph).items():
        assert np.float32(found[tensor]) == scale


def test_scales_go_through_relu_pools_and_joins() -> None:
    scales = stripped("sppf").scales
    assert scales["sppf.cv1.conv"] == scales["sppf.cv1.relu"] == scales["sppf.m_2"]
    assert scales["sppf.concat"] == scales["sppf.cv1.relu"]
    assert "pred" not in scales  # stays float


def test_scales_are_in_the_order_of_the_graph() -> None:
    found = stripped("bifpan")
    order = [str(y.name) for node in found.graph.graph for y in node.outputs]
    assert list(found.scales) == ["images", *(name for name in order if name in found.scales)]
    assert set(found.float_tensors) == {*order} - set(found.scales)


def test_the_main_side_of_a_sum_has_an_upper_bound() -> None:
    found = stripped("bottlerep_alpha")
    add = next(node for node in found.graph.graph if node.op_type == "Add")
    factor = next(node for node in found.graph.graph if node.op_type == "Mul")
    sides = {str(x.name) for x in add.inputs if x is not None}
    skip, out = str(factor.outputs[0].name), str(add.outputs[0].name)
    (main,) = sides - {skip}
    assert found.scales[skip] == pytest.approx(0.7 * found.scales["stem.relu"], rel=1e-6)
    assert found.scales[main] == found.scales[out] + found.scales[skip]
    assert main in found.bounded


def test_the_argument_is_unchanged() -> None:
    model = quantized(merged("bifpan")).graph
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    strip(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_a_float_graph_has_no_scales() -> None:
    found = strip(merged("residual").graph)
    assert (dict(found.scales), found.bounded) == ({}, ())
