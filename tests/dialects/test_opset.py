from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from detq.dialects.opset import known_operators, lowest_opset
from detq.errors import TargetError
from detq.graph.build import Builder
from detq.target import Target
from detq_deploy.targets import TENSORRT
from tests.engines import assert_within_range, in_onnxruntime
from tests.steps import images, merged, quantized

OLD = Target("old", opset=13, opset_ceiling=17)
NEW = Target("new", opset=19, opset_ceiling=20)
RNG = np.random.default_rng(0)


def one(operator: str, **attributes: object) -> ir.Model:
    """``images`` [2, 4, 6] → one operator → ``outputs``."""
    b = Builder("one")
    x = b.input("images", [2, 4, 6])
    model = b.finish({"outputs": b.op(operator, x, name="odd", shape=None, **attributes)})
    return model


def content(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString(deterministic=True)


@pytest.mark.parametrize("target", [OLD, NEW])
@pytest.mark.parametrize("name", ["lite", "tiny_detector", "upsample", "silu", "sppf"])
def test_a_network_computes_the_same_in_another_opset(name: str, target: Target) -> None:
    before = quantized(merged(name)).graph
    after = before.clone()
    known_operators(after, replace(target, operators=TENSORRT["trt8.5"].operators))
    lowest_opset(after, target)
    assert after.opset_imports[""] == target.opset
    onnx.checker.check_model(ir.to_proto(after), full_check=True)
    feeds = {"images": images(merged(name), 2)}
    wanted, found = in_onnxruntime(before, feeds), in_onnxruntime(after, feeds)
    assert_within_range(found["outputs"], wanted["outputs"], 1e-6)


@pytest.mark.parametrize(("opset", "version"), [(13, 7), (17, 8), (19, 9)])
def test_the_file_version_goes_with_the_opset(opset: int, version: int) -> None:
    model = one("Relu")
    lowest_opset(model, Target("t", opset=opset, opset_ceiling=24))
    assert (model.opset_imports[""], model.ir_version) == (opset, version)


def test_axes_become_an_input_and_an_attribute_again() -> None:
    before = one("ReduceMean", axes=[1], keepdims=0)
    after = before.clone()
    lowest_opset(after, NEW)
    assert len(after.graph[0].inputs) == 2 and "axes" not in after.graph[0].attributes
    feeds = {"images": RNG.standard_normal((2, 4, 6)).astype(np.float32)}
    wanted = in_onnxruntime(before, feeds)["outputs"]
    assert_within_range(in_onnxruntime(after, feeds)["outputs"], wanted, 1e-6)
    lowest_opset(after, OLD)
    assert after.graph[0].attributes.get_ints("axes") == (1,)
    assert_within_range(in_onnxruntime(after, feeds)["outputs"], wanted, 1e-6)


def test_the_next_opset_that_has_all_operators() -> None:
    model = one("Trilu")  # came with opset 14
    lowest_opset(model, OLD)
    assert model.opset_imports[""] == 14


def test_hard_swish_is_written_in_parts_where_the_parser_does_not_know_it() -> None:
    before = one("HardSwish")
    after = before.clone()
    known_operators(after, TENSORRT["trt8.5"])
    assert [node.op_type for node in after.graph] == ["HardSigmoid", "Mul"]
    feeds = {"images": (6 * RNG.standard_normal((2, 4, 6))).astype(np.float32)}
    wanted = in_onnxruntime(before, feeds)["outputs"]
    assert_within_range(in_onnxruntime(after, feeds)["outputs"], wanted, 1e-7)


def test_hard_swish_stays_where_the_parser_knows_it() -> None:
    model = one("HardSwish")
    before = content(model)
    known_operators(model, TENSORRT["trt10.3"])
    assert content(model) == before


@pytest.mark.parametrize("name", ["lite", "tiny_detector"])
@pytest.mark.parametrize("target", [TENSORRT["trt8.4"], TENSORRT["trt10.3"]])
def test_a_second_run_changes_nothing(name: str, target: Target) -> None:
    model = quantized(merged(name)).graph.clone()
    known_operators(model, target)
    lowest_opset(model, target)
    before = content(model)
    known_operators(model, target)
    lowest_opset(model, target)
    assert content(model) == before


def test_an_operator_that_the_parser_does_not_know() -> None:
    model = one("Det")
    with pytest.raises(TargetError) as caught:
        known_operators(model, TENSORRT["trt8.6"])
    assert str(caught.value) == (
        "trt8.6: its parser does not know Det odd (replace these operators in the network, or "
        "take a later target)"
    )


def test_an_operator_that_is_too_young() -> None:
    model = one("Gelu")
    model.opset_imports[""] = 20
    with pytest.raises(TargetError) as caught:
        lowest_opset(model, OLD)
    assert str(caught.value) == (
        "old: Gelu odd of opset 20 cannot be written in opset 13 to 17 (export the network with "
        "an older opset, or take a later target)"
    )
