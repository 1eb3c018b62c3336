from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from detq.errors import RecipeError
from detq.graph.build import DECODE, STAGE, size_of
from detq.model import FloatModel
from detq.placement import place
from detq.plan import Layer, Placement, QuantPoint
from detq.quantized import quantize
from detq.stats import Range
from detq.target import PLAIN, Target
from detq.transforms import DEFAULT, transform
from tests.block_writer import Writer
from tests.zoo import Body, network, tiny_detector

pytest.importorskip("torch", reason="merging is checked in torch")

UNSIGNED = Target("cpu", unsigned_activations=True)


def merged(body: Body) -> FloatModel:
    return transform(network(body), DEFAULT)


def points_of(body: Body, target: Target = PLAIN) -> Mapping[str, QuantPoint]:
    return {point.value: point for point in place(merged(body), target).points}


def groups_of(body: Body) -> set[frozenset[str]]:
    found = place(merged(body), PLAIN).groups.values()
    return {frozenset(point.value for point in members) for members in found}


def layers_of(placement: Placement) -> Mapping[str, Layer]:
    return {layer.node: layer for layer in placement.layers}


def conv(w: Writer, x: ir.Value, name: str, **options: int) -> ir.Value:
    return w.conv_module(x, 8, 3, name=name, **options)


def test_the_input_of_an_int8_layer_is_rounded() -> None:
    points = points_of(lambda w, x: conv(w, x, "a"))
    assert {name: point.consumers for name, point in points.items()} == {
        "images": ("stem.conv",),
        "stem.relu": ("a.conv",),
    }


def test_one_pair_serves_all_readers() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        return w.elementwise("Mul", conv(w, x, "a"), conv(w, x, "b"))

    point = points_of(body)["stem.relu"]
    assert point.consumers == ("a.conv", "b.conv")


def test_a_reader_in_float_reads_the_float_tensor() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        return w.elementwise("Mul", conv(w, x, "a"), w.elementwise("Sigmoid", x, name="gate"))

    assert points_of(body)["stem.relu"].consumers == ("a.conv",)


def test_a_concat_and_its_inputs_share_a_scale() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        return conv(w, w.concat([conv(w, x, "a"), conv(w, x, "b")]), "after")

    points = points_of(body)
    assert groups_of(body) == {
        frozenset({"images"}),
        frozenset({"stem.relu"}),
        frozenset({"a.relu", "b.relu", "concat"}),
    }
    assert points["a.relu"].consumers == ("concat",)
    assert points["a.relu"].rule == "copied into a rounded tensor"
    assert points["concat"].consumers == ("after.conv",)


def test_a_concat_of_concats_is_one_group() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        inner = w.concat([conv(w, x, "a"), conv(w, x, "b")], name="inner")
        return conv(w, w.concat([inner, conv(w, x, "c")], name="outer"), "after")

    assert {"a.relu", "b.relu", "c.relu", "inner", "outer"} in groups_of(body)


def test_groups_that_meet_become_one() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        a, b, c = (conv(w, x, name) for name in "abc")
        left = conv(w, w.concat([a, b], name="left"), "d")
        right = conv(w, w.concat([b, c], name="right"), "e")
        return w.elementwise("Mul", left, right)

    assert {"a.relu", "b.relu", "c.relu", "left", "right"} in groups_of(body)


def test_a_concat_that_nobody_rounds_stays_float() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        joined = w.concat([conv(w, x, "a"), conv(w, x, "b")])
        return w.elementwise("Sigmoid", joined)

    assert set(points_of(body)) == {"images", "stem.relu"}


def test_an_sppf_chain_is_one_group() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        return w.sppf(x, 8, name="sppf")

    chain = {"sppf.cv1.relu", "sppf.m", "sppf.m_1", "sppf.m_2", "sppf.concat"}
    assert chain in groups_of(body)
    points = points_of(body)
    assert points["sppf.cv1.relu"].consumers == ("sppf.m", "sppf.concat")


def _resized(mode: str) -> Body:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        deep = conv(w, x, "deep", stride=2)
        height, width = size_of(deep)
        scales = w.constant("scales", np.array([1, 1, 2, 2], np.float32))
        up = w.op(
            "Resize", deep, None, scales, shape=("batch", 8, 2 * height, 2 * width), mode=mode,
            coordinate_transformation_mode="half_pixel",
        )  # fmt: skip
        return conv(w, up, "after")

    return body


def test_nearest_resizing_copies() -> None:
    assert {"deep.relu", "resize"} in groups_of(_resized("nearest"))


def test_linear_resizing_computes() -> None:
    assert {"resize"} in groups_of(_resized("linear"))
    assert "deep.relu" not in points_of(_resized("linear"))


def _residual(alpha: float | None) -> Body:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        return conv(w, w.bottlerep(x, alpha=alpha, name="block"), "after")

    return body


def test_only_the_skip_side_of_a_residual_is_rounded() -> None:
    points = points_of(_residual(None))
    assert points["stem.relu"].consumers == ("block.conv1.conv", "block.add")
    assert "block.conv2.relu" not in points
    assert points["block.add"].consumers == ("after.conv",)


def test_a_learned_number_stays_between_the_skip_and_the_sum() -> None:
    points = points_of(_residual(0.7))
    assert points["stem.relu"].consumers == ("block.conv1.conv", "block.mul")
    assert not {"block.mul", "block.conv2.relu"} & set(points)


def test_a_skip_that_no_layer_reads_is_rounded_for_the_sum() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        skip = conv(w, x, "skip")
        return w.elementwise("Add", conv(w, x, "main"), skip)

    point = points_of(body)["skip.relu"]
    assert point.consumers == ("add",)
    assert point.rule == "skip side of a residual Add"


def test_a_skip_of_two_sums_is_rounded_for_both() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        first = w.elementwise("Add", conv(w, x, "a"), x, name="first")
        return w.elementwise("Add", conv(w, first, "b"), x, name="second")

    assert points_of(body)["stem.relu"].consumers == ("a.conv", "first", "second")


def test_a_skip_around_one_layer_without_activation() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        return w.relu(w.elementwise("Add", w.plain_conv(x, 8, name="a"), x))

    points = {p.value: p for p in place(network(body), PLAIN).points}  # not merged into one
    assert points["stem.relu"].consumers == ("a", "add")


def test_a_sum_without_an_int8_layer_before_it_stays_float() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        average, largest = (
            w.pool(kind, x, (3, 3), stride=(1, 1), padding=(1, 1))
            for kind in ("AveragePool", "MaxPool")
        )
        return w.elementwise("Add", average, largest)

    assert set(points_of(body)) == {"images"}


def test_a_sum_of_a_tensor_with_itself_has_no_skip_side() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        y = conv(w, x, "a")
        return conv(w, w.elementwise("Add", y, y), "after")

    assert "a.relu" not in points_of(body)


def _transposed(w: Writer, x: ir.Value) -> ir.Value:
    y = w.conv_transpose(x, w.weight(8, 8, 2, 2), stride=(2, 2), name="up")
    return conv(w, y, "after")


def test_a_transposed_convolution_has_one_scale() -> None:
    layers = layers_of(place(merged(_transposed), PLAIN))
    assert layers["up"].int8
    assert layers["up"].axis is None
    assert layers["after.conv"].axis == 0


def test_predictions_and_decoding_stay_float() -> None:
    model = transform(tiny_detector(), DEFAULT)
    placement = place(model, PLAIN)
    in_float = {layer.node: layer.reason for layer in placement.layers if not layer.int8}
    assert set(in_float) == {
        f"detect.{kind}_preds.{level}" for kind in ("reg", "cls") for level in range(3)
    }
    assert set(in_float.values()) == {
        "its output is boxes and scores, nothing averages its error out"
    }
    decoding = {
        str(value.name)
        for node in model.graph.graph
        if node.metadata_props[STAGE] == DECODE
        for value in node.outputs
    }
    assert not decoding & {point.value for point in placement.points}


def test_a_convolution_that_decodes_stays_float() -> None:
    w = Writer("dfl", 0)
    x = w.conv_module(w.input("images", ["batch", 3, 16, 16]), 8, name="stem")
    x = w.plain_conv(x, 16, 1, name="pred")
    with w.stage(DECODE):
        x = w.plain_conv(w.elementwise("Softmax", x, axis=1), 1, 1, name="proj")
    model = FloatModel(w.finish({"outputs": x}), tiny_detector().detector)
    layers = layers_of(place(transform(model, DEFAULT), PLAIN))
    assert layers["proj"].reason == "decoding of boxes is float"
    assert not layers["pred"].int8
    assert layers["stem.conv"].int8


def test_computed_weights_stay_float() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        kernel = w.elementwise("Tanh", w.constant("kernel", w.weight(8, 8, 1, 1)))
        y = w.op("Conv", x, kernel, name="dynamic", shape=("batch", 8, 16, 16))
        return conv(w, y, "after")

    layers = layers_of(place(merged(body), PLAIN))
    assert not layers["dynamic"].int8
    assert layers["dynamic"].reason == "its weights are computed, not stored"


def test_every_layer_has_an_answer() -> None:
    model = transform(tiny_detector(), DEFAULT)
    weighted = [n.name for n in model.graph.graph if n.op_type in ("Conv", "ConvTranspose")]
    layers = place(model, PLAIN).layers
    assert [layer.node for layer in layers] == weighted
    assert all(layer.reason for layer in layers)


SIGNS: Mapping[str, tuple[Callable[[Writer, ir.Value], ir.Value], bool]] = {
    "Relu": (lambda w, x: w.relu(x), False),
    "Sigmoid": (lambda w, x: w.elementwise("Sigmoid", x), False),
    "HardSigmoid": (lambda w, x: w.elementwise("HardSigmoid", x), False),
    "HardSwish": (lambda w, x: w.hard_swish(x), True),
    "SiLU": (lambda w, x: w.silu(x), True),
    "LeakyRelu": (lambda w, x: w.elementwise("LeakyRelu", x), True),
    "no activation": (lambda w, x: x, True),
    "Relu6": (
        lambda w, x: w.elementwise("Clip", x, _number(w, "low", 0), _number(w, "high", 6)),
        False,
    ),
    "Clip below zero": (
        lambda w, x: w.elementwise("Clip", x, _number(w, "low", -1), _number(w, "high", 6)),
        True,
    ),
    "sum of both": (lambda w, x: w.elementwise("Add", w.relu(x), w.relu(x)), False),
    "sum with a negative number": (
        lambda w, x: w.elementwise("Add", w.relu(x), _number(w, "shift", -1)),
        True,
    ),
    "difference": (lambda w, x: w.elementwise("Sub", w.relu(x), w.relu(x)), True),
    "average of Relu": (
        lambda w, x: w.pool("AveragePool", w.relu(x), (3, 3), stride=(1, 1), padding=(1, 1)),
        False,
    ),
    "scaled by a negative number": (
        lambda w, x: w.elementwise("Mul", w.relu(x), _number(w, "alpha", -0.5)),
        True,
    ),
}


def _number(w: Writer, name: str, number: float) -> ir.Value:
    return w.constant(name, np.array(number, np.float32))


@pytest.mark.parametrize("case", SIGNS)
def test_unsigned_only_where_never_negative(case: str) -> None:
    activation, signed = SIGNS[case]

    def body(w: Writer, x: ir.Value) -> ir.Value:
        return conv(w, activation(w, w.plain_conv(x, 8, 3, bias=True, name="before")), "after")

    points = points_of(body, UNSIGNED)
    (point,) = (point for point in points.values() if point.consumers == ("after.conv",))
    assert point.grid.signed is signed
    assert points_of(body, PLAIN)[point.value].grid.signed
    assert not points["images"].grid.signed


def test_a_group_with_one_signed_member_is_signed() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        positive, both = conv(w, x, "a"), conv(w, x, "b", activation="silu")  # type: ignore[arg-type]
        return conv(w, w.concat([positive, both]), "after")

    points = points_of(body, UNSIGNED)
    assert points["a.relu"].grid.signed
    assert points["concat"].grid.signed
    assert not points["stem.relu"].grid.signed


def test_a_recipe_can_leave_layers_float() -> None:
    model = transform(tiny_detector(), DEFAULT)
    placement = place(model, PLAIN, {"neck.Bifusion?.*": "too sensitive"})
    in_float = {layer.node for layer in placement.layers if layer.reason == "recipe: too sensitive"}
    assert len(in_float) == 10
    assert all(name.startswith("neck.Bifusion") for name in in_float)
    readers = {name for point in placement.points for name in point.consumers}
    assert not readers & in_float


def test_a_pattern_without_a_layer_names_some() -> None:
    model = transform(tiny_detector(), DEFAULT)
    with pytest.raises(RecipeError) as caught:
        place(model, PLAIN, {"backbone.stem*": "", "nekc.*": ""})
    assert str(caught.value) == (
        "$.float_layers: pattern 'nekc.*' matches no layer (layers are called like "
        "backbone.stem.conv, backbone.ERBlock_2.0.conv, detect.cls_convs.2.conv, "
        "detect.cls_preds.2; detq inspect lists them)"
    )


def test_any_single_layer_can_stay_float() -> None:
    model = transform(tiny_detector(), DEFAULT)
    names = [layer.node for layer in place(model, PLAIN).layers if layer.int8]
    assert len(names) == 38
    for name in names:
        placement = place(model, PLAIN, {name: "tried"})
        assert [layer.node for layer in placement.layers if layer.reason == "recipe: tried"] == [
            name
        ]
        ranges = dict.fromkeys(placement.groups, Range(-1.0, 1.0))
        graph = quantize(model, placement, ranges).graph
        node = next(node for node in graph.graph if node.name == name)
        assert all(x is None or _maker(x) != "DequantizeLinear" for x in node.inputs)
        onnx.checker.check_model(ir.to_proto(graph))


def _maker(value: ir.Value) -> str:
    producer = value.producer()
    return "" if producer is None else producer.op_type


def test_a_network_wholly_in_float_has_no_points() -> None:
    model = transform(tiny_detector(), DEFAULT)
    placement = place(model, PLAIN, {"*": "reference"})
    assert placement.points == ()
    assert not any(layer.int8 for layer in placement.layers)
    assert [n.op_type for n in quantize(model, placement, {}).graph.graph] == [
        n.op_type for n in model.graph.graph
    ]
