import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="layers are compared in torch")

import onnx_ir as ir

from detq.layer_error import LayerError, decibels, layer_errors, ranges_of
from detq.placement import place
from detq.quantized import quantize
from detq.stats import Range
from detq.target import PLAIN, Target
from tests.steps import UNSIGNED, images, merged, quantized

SHIFTED = Target("shifted", unsigned_activations=True, shifted_activations=True)
NAMES = ["repvgg", "residual", "upsample", "lite"]


def errors(name: str, float_layers: dict[str, str] | None = None) -> tuple[LayerError, ...]:
    model = merged(name)
    found = quantized(model, float_layers=float_layers)
    return layer_errors(model, found.graph, found.placement, [images(model)])


@pytest.mark.parametrize(
    ("signal", "noise", "ratio"),
    [(100, 1, 20), (1, 1, 0), (1, 100, -20), (1, 0, math.inf), (0, 1, -math.inf), (0, 0, math.inf)],
)
def test_decibels(signal: float, noise: float, ratio: float) -> None:
    assert decibels(signal, noise) == pytest.approx(ratio, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_has_its_error(name: str) -> None:
    placement = place(merged(name), PLAIN)
    found = errors(name)
    assert [layer.node for layer in found] == [layer.node for layer in placement.layers]
    for layer in found:
        assert layer.int8 == (layer.own_noise is not None)
        # A layer whose input was nothing but zeros makes no noise.
        assert 10 < decibels(layer.signal, layer.noise) < 80 or layer.noise == 0, layer
    assert sum(layer.noise > 0 for layer in found) > len(found) / 2


@pytest.mark.parametrize("name", NAMES)
def test_noise_of_the_first_layer_is_its_own(name: str) -> None:
    first = errors(name)[0]
    assert first.own_noise == pytest.approx(first.noise, rel=1e-6)


def test_nothing_rounded_is_no_noise() -> None:
    model = merged("residual")
    placement = place(model, PLAIN, {"*": "all"})
    found = layer_errors(model, model.graph, placement, [images(model)])
    assert {layer.noise for layer in found} == {0.0}
    assert {layer.reason for layer in found} == {"recipe: all"}
    assert all(layer.own_noise is None and layer.signal > 0 for layer in found)


def test_a_layer_alone_is_told_apart_from_those_before_it() -> None:
    *before, last = (layer for layer in errors("residual") if layer.int8)
    others_float = {layer.node: "not now" for layer in before}
    (alone,) = (layer for layer in errors("residual", others_float) if layer.node == last.node)
    assert last.own_noise is not None and last.noise > last.own_noise > 0
    assert last.own_noise == pytest.approx(alone.noise, rel=1e-3)


def test_more_batches_are_a_mean() -> None:
    model = merged("repvgg")
    found = quantized(model)
    both = images(model, 4)
    parts = [both[:2], both[2:]]
    done: list[int] = []
    split = layer_errors(model, found.graph, found.placement, parts, done.append)
    whole = layer_errors(model, found.graph, found.placement, [both])
    assert done == [1, 2]
    for a, b in zip(split, whole, strict=True):
        assert a.noise == pytest.approx(b.noise, rel=1e-9)
        assert a.signal == pytest.approx(b.signal, rel=1e-9)


def test_a_file_that_takes_something_else_is_left_out() -> None:
    model = merged("repvgg")
    found = quantized(model)
    graph = found.graph.clone()
    graph.graph.inputs[0].type = ir.TensorType(ir.DataType.UINT8)
    assert layer_errors(model, graph, found.placement, [images(model)]) == ()


def test_a_file_with_an_operator_that_torch_has_not_is_left_out() -> None:
    model = merged("repvgg")
    found = quantized(model)
    graph = found.graph.clone()
    for node in graph.graph:
        if node.op_type == "Conv":
            node.domain = "somebody.else"
    assert layer_errors(model, graph, found.placement, [images(model)]) == ()


@pytest.mark.parametrize("target", [PLAIN, UNSIGNED, SHIFTED], ids=lambda target: target.name)
def test_ranges_are_what_the_integers_cover(target: Target) -> None:
    model = merged("silu")
    placement = place(model, target)
    assert any(point.grid.shifted for point in placement.points) == (target is SHIFTED)
    chosen = {group: Range(-1.0, 2.54) for group in placement.groups}
    found = ranges_of(quantize(model, placement, chosen).graph, placement)
    assert [tensor.value for tensor in found] == [point.value for point in placement.points]
    for tensor, point in zip(found, placement.points, strict=True):
        assert (tensor.group, tensor.rule) == (point.group, point.rule)
        assert tensor.highest - tensor.lowest == pytest.approx(255 * tensor.scale, rel=1e-6)
        assert tensor.highest == pytest.approx(2.54, rel=1e-6)
        assert tensor.lowest == pytest.approx(-2.56 if point.grid.signed else 0, rel=1e-6)


def test_a_file_without_a_point_has_no_range_for_it() -> None:
    model = merged("repvgg")
    assert ranges_of(model.graph, place(model, PLAIN)) == ()
    assert np.isfinite(errors("repvgg")[0].signal)
