from dataclasses import replace

import pytest

from detq.dialects.calibration_cache import CalibrationCache
from detq.dialects.import_cache import quantize_by_cache
from detq.dialects.strip import strip
from detq.errors import CalibrationError
from detq.graph.build import CALLED
from detq.model import FloatModel
from detq.quantized import scales_of, weights_of
from detq.target import PLAIN
from tests.steps import merged, quantized
from tests.zoo import ZOO


def cache_of(name: str) -> CalibrationCache:
    return CalibrationCache(8502, strip(quantized(merged(name)).graph).scales)


def without(cache: CalibrationCache, *tensors: str) -> CalibrationCache:
    left = {name: scale for name, scale in cache.scales.items() if name not in tensors}
    return replace(cache, scales=left)


@pytest.mark.parametrize("name", ZOO)
def test_what_was_stripped_comes_back_bit_for_bit(name: str) -> None:
    wanted = quantized(merged(name))
    found = quantize_by_cache(merged(name), cache_of(name), PLAIN)
    assert found.float_layers == ()
    assert found.model.placement == wanted.placement
    one, other = scales_of(wanted.graph), scales_of(found.model.graph)
    assert {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in other.items()}
    for a, b in zip(weights_of(wanted.graph), weights_of(found.model.graph), strict=True):
        assert (a[0], a[1].tobytes(), a[2].tobytes()) == (b[0], b[1].tobytes(), b[2].tobytes())


def test_members_of_a_group_get_the_widest_scale() -> None:
    cache = cache_of("sppf")
    wide = replace(cache, scales={**cache.scales, "sppf.m": 3.0})
    found = scales_of(quantize_by_cache(merged("sppf"), wide, PLAIN).model.graph)
    assert float(found["sppf.concat"]) == float(found["sppf.cv1.relu"]) == 3.0


def test_a_layer_without_a_scale_stays_float() -> None:
    found = quantize_by_cache(merged("repvgg"), without(cache_of("repvgg"), "stem.relu"), PLAIN)
    assert found.float_layers == ("block.conv",)
    layers = {layer.node: layer for layer in found.model.placement.layers}
    assert layers["block.conv"].reason == "recipe: the cache has no scale for its input"
    assert layers["stem.conv"].int8


def test_scales_of_tensors_that_are_not_rounded_are_told() -> None:
    cache = cache_of("repvgg")
    more = replace(cache, scales={**cache.scales, "elsewhere": 1.0})
    assert "elsewhere" in quantize_by_cache(merged("repvgg"), more, PLAIN).unused


def test_tensors_go_by_the_name_they_had() -> None:
    model = merged("repvgg")
    graph = model.graph.clone()
    stem = next(node for node in graph.graph if node.name == "stem.relu")
    stem.outputs[0].meta[CALLED] = "/model.0/act/Relu_output_0"
    cache = cache_of("repvgg")
    scales = {**cache.scales, "/model.0/act/Relu_output_0": cache.scales["stem.relu"]}
    del scales["stem.relu"]
    found = quantize_by_cache(
        FloatModel(graph, model.detector), replace(cache, scales=scales), PLAIN
    )
    assert found.float_layers == ()


def test_a_cache_of_another_network() -> None:
    with pytest.raises(CalibrationError) as caught:
        quantize_by_cache(merged("repvgg"), CalibrationCache(8502, {"x": 1.0}), PLAIN)
    assert str(caught.value) == (
        "cache: none of its 1 tensors is in the network (give the network that the cache was "
        "made for)"
    )
