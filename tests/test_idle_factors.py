from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from detq.idle_factors import without_idle_factors
from detq.model import FloatModel
from detq.placement import place
from detq.plan import Placement
from detq.target import PLAIN
from tests.block_writer import Writer
from tests.engines import assert_within_range, in_interpreter
from tests.steps import images
from tests.zoo import Body, network

pytest.importorskip("torch", reason="the graph is run in torch")

FACTORS = np.linspace(0.25, 8, 8, dtype=np.float32).reshape(1, 8, 1, 1)


def scaled(w: Writer, x: ir.Value, factors: NDArray[np.float32] = FACTORS) -> ir.Value:
    return w.elementwise("Mul", x, w.constant("factors", factors), name="even")


def outputs(model: FloatModel) -> NDArray[np.float32]:
    return in_interpreter(model.graph, {"images": images(model)})["outputs"]


def multiplications(model: FloatModel) -> int:
    return sum(node.op_type == "Mul" for node in model.graph.graph)


def floats(model: FloatModel, *patterns: str) -> Placement:
    return place(model, PLAIN, dict.fromkeys(patterns, "in float"))


def check_gone(body: Body, *in_float: str) -> FloatModel:
    model = network(body)
    found = without_idle_factors(model, floats(model, *in_float))
    assert multiplications(model) == 1
    assert multiplications(found) == 0
    # A product more or less in float32.
    assert_within_range(outputs(found), outputs(model), 1e-5)
    return found


def test_a_float_layer_takes_the_factors() -> None:
    found = check_gone(lambda w, x: w.plain_conv(scaled(w, x), 8, 3, name="a"), "a")
    assert not any("factors" in name for name in found.graph.graph.initializers)


def test_several_float_layers_take_them() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        y = scaled(w, x)
        parts = [w.plain_conv(y, 8, 3, name=name) for name in "ab"]
        return w.concat(parts)

    check_gone(body, "a", "b")


@pytest.mark.parametrize("groups", [2, 4, 8])
def test_groups_take_their_own(groups: int) -> None:
    check_gone(lambda w, x: w.plain_conv(scaled(w, x), 8, 3, groups=groups, name="a"), "a")


def test_they_pass_what_copies() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        deep = w.pool("MaxPool", scaled(w, x), (2, 2), stride=(2, 2), padding=(0, 0))
        joined = w.concat([x, w.resize_nearest(deep, 2)])
        return w.plain_conv(joined, 8, 3, name="a")

    check_gone(body, "a")


STAYS: Mapping[str, tuple[Body, tuple[str, ...]]] = {
    "before an INT8 layer": (lambda w, x: w.plain_conv(scaled(w, x), 8, 3, name="a"), ()),
    "before something else": (
        lambda w, x: w.plain_conv(w.elementwise("Tanh", scaled(w, x)), 8, 3, name="a"),
        ("a",),
    ),
    "negative before a pool": (
        lambda w, x: w.plain_conv(
            w.pool("MaxPool", scaled(w, x, -FACTORS), (2, 2), stride=(2, 2), padding=(0, 0)),
            8,
            3,
            name="a",
        ),
        ("a",),
    ),
    "of another shape": (
        lambda w, x: w.plain_conv(scaled(w, x, np.ones((1, 1, 16, 16), np.float32)), 8, name="a"),
        ("a",),
    ),
}


@pytest.mark.parametrize("case", STAYS)
def test_it_stays(case: str) -> None:
    body, in_float = STAYS[case]
    model = network(body)
    found = without_idle_factors(model, floats(model, *in_float))
    assert multiplications(found) == 1
    np.testing.assert_array_equal(outputs(found), outputs(model))


def test_weights_that_an_int8_layer_shares_keep_their_bits() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        parts = w.plain_conv(scaled(w, x), 8, 3, name="a"), w.plain_conv(x, 8, 3, name="b")
        return w.concat(list(parts))

    model = network(body)
    nodes = {str(node.name): node for node in model.graph.graph}
    shared = nodes["a"].inputs[1]
    nodes["b"].replace_input_with(1, shared)
    before = shared.const_value.numpy().tobytes()  # type: ignore[union-attr]
    found = without_idle_factors(model, floats(model, "a"))
    after = {str(n.name): n.inputs[1] for n in found.graph.graph if n.op_type == "Conv"}
    assert after["b"].const_value.numpy().tobytes() == before  # type: ignore[union-attr]
    assert after["a"] is not after["b"]
    assert_within_range(outputs(found), outputs(model), 1e-5)


def test_the_model_is_left_alone_and_twice_is_once() -> None:
    model = network(lambda w, x: w.plain_conv(scaled(w, x), 8, 3, name="a"))
    before = ir.to_proto(model.graph).SerializeToString(deterministic=True)
    placement = floats(model, "a")
    once = without_idle_factors(model, placement)
    twice = without_idle_factors(once, placement)
    content = [ir.to_proto(m.graph).SerializeToString(deterministic=True) for m in (once, twice)]
    assert content[0] == content[1]
    assert ir.to_proto(model.graph).SerializeToString(deterministic=True) == before
