from collections.abc import Mapping

import onnx_ir as ir
import pytest

from detq.model import FloatModel
from detq.placement import candidates, place
from detq.placement.kernels import ROUNDED_TWICE, with_own_scales
from detq.plan import Layer, Placement, QuantPoint
from detq.target import PLAIN, Kernels, Target
from detq.transforms import DEFAULT, transform
from tests.block_writer import Writer
from tests.zoo import ZOO, Body, network

pytest.importorskip("torch", reason="merging is checked in torch")

SPARSE = Target("sparse", engine="engine", unsigned_activations=True, kernels=Kernels(32))
DENSE = Target(
    "dense",
    engine="engine",
    unsigned_activations=True,
    kernels=Kernels(1, rounded_outputs=True, own_scales=True),
)
NO_KERNELS = Target("any", unsigned_activations=True)


def merged(body: Body, size: tuple[int, int] = (16, 16)) -> FloatModel:
    return transform(network(body, size=size), DEFAULT)


def layers_of(placement: Placement) -> Mapping[str, Layer]:
    return {layer.node: layer for layer in placement.layers}


def points_of(placement: Placement) -> Mapping[str, QuantPoint]:
    return {point.value: point for point in placement.points}


def _wide(w: Writer, x: ir.Value) -> ir.Value:
    return w.conv_module(x, 8, 3, name="wide")


@pytest.mark.parametrize(("least", "int8"), [(72, True), (73, False)])
def test_few_products_stay_float(least: int, int8: bool) -> None:
    target = Target("t", engine="engine", kernels=Kernels(least))
    layer = layers_of(place(merged(_wide), target))["wide.conv"]  # 8 channels * 3 * 3
    assert layer.int8 is int8
    if not int8:
        assert layer.reason == (
            "no faster in engine: 72 products per number, rounding pays from 73"
        )


def _depthwise(w: Writer, x: ir.Value) -> ir.Value:
    x = w.conv_module(x, 8, 5, groups=8, name="depthwise")
    return w.conv_module(x, 40, 1, name="pointwise")


def test_depthwise_ones_count_the_channels_of_their_group() -> None:
    layers = layers_of(place(merged(_depthwise), SPARSE))
    assert "25 products" in layers["depthwise.conv"].reason
    assert "8 products" in layers["pointwise.conv"].reason


def test_one_pixel_stays_float() -> None:
    layers = layers_of(place(merged(lambda w, x: w.lite(x, name="lite")), DENSE))
    one = {name for name, layer in layers.items() if "one pixel" in layer.reason}
    assert one == {name for name in layers if ".se." in name}
    assert one


def test_the_first_layer_needs_an_int8_reader() -> None:
    def into_float(w: Writer, x: ir.Value) -> ir.Value:
        x = w.conv_module(x, 8, 3, groups=8, name="depthwise")
        return w.conv_module(x, 64, 3, name="wide")

    target = Target("t", engine="engine", kernels=Kernels(27))
    alone = layers_of(place(merged(into_float), target))
    assert "no INT8 layer reads what it makes" in alone["stem.conv"].reason
    assert alone["wide.conv"].int8
    assert layers_of(place(merged(_wide), target))["stem.conv"].int8


def test_a_target_without_kernels_changes_nothing() -> None:
    plain, other = (place(merged(_depthwise), target) for target in (PLAIN, NO_KERNELS))
    assert plain.layers == other.layers


def _signed_and_not(w: Writer, x: ir.Value) -> ir.Value:
    positive = w.conv_module(x, 8, 3, name="positive")
    signed = w.plain_conv(x, 8, 3, name="signed")
    return w.conv_module(w.concat([positive, signed]), 8, 3, name="after")


def test_what_cannot_be_negative_leaves_a_signed_group() -> None:
    tied = points_of(place(merged(_signed_and_not), NO_KERNELS))
    assert tied["positive.relu"].group == tied["concat"].group == tied["signed"].group
    assert tied["positive.relu"].grid.signed
    free = points_of(place(merged(_signed_and_not), DENSE))
    assert free["positive.relu"].group == "positive.relu"
    assert not free["positive.relu"].grid.signed
    assert free["signed"].group == free["concat"].group
    assert free["concat"].grid.signed


def test_an_unsigned_group_stays_whole() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        joined = w.concat([w.conv_module(x, 8, 3, name=name) for name in "ab"])
        return w.conv_module(joined, 8, 3, name="after")

    points = points_of(place(merged(body), DENSE))
    assert points["a.relu"].group == points["b.relu"].group == points["concat"].group


def test_freeing_again_changes_nothing() -> None:
    x, y, joined = (ir.Value(name=name) for name in ("x", "y", "joined"))
    relu = ir.Node("", "Relu", [x], outputs=[y])
    ir.Node("", "Concat", [relu.outputs[0], x], outputs=[joined])
    once = with_own_scales([{joined, y, x}], {joined, x, y})
    assert once == [{joined, x}]
    assert with_own_scales(once, {joined, x}) == once


@pytest.mark.parametrize("relu", [True, False])
def test_outputs_are_rounded_behind_a_relu_or_at_once(relu: bool) -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        y = w.plain_conv(x, 8, 3, name="a")
        return w.elementwise("Exp", w.relu(y) if relu else y)  # in float

    name = "relu" if relu else "a"
    point = points_of(place(merged(body), DENSE))[name]
    assert point.consumers == ("exp",)
    assert point.rule == "output of an INT8 layer"
    assert name not in points_of(place(merged(body), NO_KERNELS))


def test_every_reader_reads_what_was_rounded() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        y = w.conv_module(x, 8, 3, name="a")
        return w.elementwise("Mul", w.conv_module(y, 8, 3, name="b"), w.elementwise("Exp", y))

    assert points_of(place(merged(body), NO_KERNELS))["a.relu"].consumers == ("b.conv",)
    assert points_of(place(merged(body), DENSE))["a.relu"].consumers == ("b.conv", "exp")


@pytest.mark.parametrize(("width", "int8"), [(8, False), (32, True)])
def test_rounding_twice_pays_later(width: int, int8: bool) -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        x = w.conv_module(x, width, 3, name="before")
        return w.conv_module(x, 8, 3, name="silu", activation="silu")

    placement = place(merged(body), DENSE)
    layer = layers_of(placement)["silu.conv"]
    assert layer.int8 is int8
    assert ("silu.conv" in points_of(placement)) is int8
    assert int8 or f"pays from {ROUNDED_TWICE}" in layer.reason
    assert layers_of(place(merged(body), SPARSE))["silu.conv"].int8


@pytest.mark.parametrize("name", ZOO)
def test_candidates_hold_every_point(name: str) -> None:
    model = transform(ZOO[name](), DEFAULT)
    for target in (PLAIN, SPARSE, DENSE):
        points = {point.value for point in place(model, target).points}
        assert points <= candidates(model)
