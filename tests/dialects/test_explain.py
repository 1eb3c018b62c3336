import numpy as np
import onnx_ir as ir
import pytest

from detq.dialects import write_float, write_quantized
from detq.dialects.explain import Answer, explain, int8_layers, planned
from detq.placement import place
from detq.target import PLAIN
from detq_deploy.targets import TENSORRT
from tests.steps import merged, quantized
from tests.zoo import ZOO


def answers(name: str) -> dict[str, Answer]:
    return {answer.layer: answer for answer in explain(quantized(merged(name)).graph)}


def test_every_layer_has_an_answer() -> None:
    found = answers("sppf")
    first = found["stem.conv"]
    assert (first.operator, first.int8, first.input, first.group) == (
        "Conv", True, "images", "images",
    )  # fmt: skip
    assert first.why == "weights are constant"
    assert first.input_scale == pytest.approx(1 / 127, rel=1e-3)
    last = found["pred"]
    assert not last.int8 and last.why.startswith("its output is boxes")
    assert (last.input_scale, last.weight_scales, last.group, last.members) == (None, None, "", 0)
    joined = found["sppf.cv2.conv"]
    assert (joined.group, joined.members) == ("sppf.cv1.relu", 5)


def test_scales_are_those_of_the_file() -> None:
    model = quantized(merged("repvgg")).graph
    scale = model.graph.initializers["block.conv.weight.scale"].const_value
    assert scale is not None
    found = {answer.layer: answer for answer in explain(model)}["block.conv"]
    numbers = scale.numpy()
    assert found.weight_scales == (float(numbers.min()), float(numbers.max()))


@pytest.mark.parametrize("target", ["trt8.5", "trt10.3", "trt11.4"])
@pytest.mark.parametrize("name", ["tiny_detector", "sppf", "residual"])
def test_every_dialect_gives_the_same_answers(name: str, target: str) -> None:
    model = quantized(merged(name))
    written = explain(write_quantized(model, TENSORRT[target]))
    for one, other in zip(explain(model.graph), written, strict=True):
        same = ("layer", "operator", "int8", "why", "input", "group", "members")
        assert [getattr(one, x) for x in same] == [getattr(other, x) for x in same]
        assert (one.input_scale is None) == (other.input_scale is None)
        if one.input_scale is not None and other.input_scale is not None:
            np.testing.assert_allclose(other.input_scale, one.input_scale, rtol=2**-11)


def test_a_group_has_its_name_where_its_scale_is_there_in_two_types() -> None:
    model = quantized(merged("conv_bn"))
    scale = model.graph.graph.initializers["block.conv.weight.scale"]
    before = scale.const_value
    assert before is not None
    small = (before.numpy() * np.float32(1e-3)).astype(np.float32)
    scale.const_value = ir.tensor(small, name=scale.name)  # too small for float16
    written = write_quantized(model, TENSORRT["trt11.4"])
    assert "stem.relu.scale.float16" in written.graph.initializers
    found = {answer.layer: answer for answer in explain(written)}["block.conv"]
    assert (found.int8, found.group, found.members) == (True, "stem.relu", 1)


@pytest.mark.parametrize("name", ZOO)
def test_the_plan_is_what_the_file_has(name: str) -> None:
    model = merged(name)
    placement = place(model, PLAIN)
    for one, other in zip(
        planned(model.graph.graph, placement), explain(quantized(model).graph), strict=True
    ):
        same = ("layer", "operator", "int8", "why", "input", "group", "members")
        assert [getattr(one, x) for x in same] == [getattr(other, x) for x in same]
        assert one.input_scale is None and one.weight_scales is None


def test_a_float_file() -> None:
    found = explain(write_float(merged("residual")))
    assert found and not any(answer.int8 for answer in found)
    assert {answer.why for answer in found} == {"neither input nor weights are rounded"}


def test_int8_layers_have_both_sides_rounded() -> None:
    graph = quantized(merged("upsample")).graph.graph
    found = {str(node.name) for node in int8_layers(graph)}
    assert found == {
        answer.layer for answer in explain(quantized(merged("upsample")).graph) if answer.int8
    }
    assert "pred" not in found and found
