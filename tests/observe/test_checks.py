import numpy as np
import onnx_ir as ir
import pytest

from detq.errors import CalibrationError, ModelError
from detq.model import FloatModel
from detq.observe import collect
from detq.observe.checks import check_weights
from detq.placement import place
from detq.quantized import quantize, scales_of, weights_of
from detq.ranges import choose_ranges, estimator_from
from detq.recipe import Entropy, Kl, MinMax, Mse, Percentile
from detq.stats import CalibrationStats
from detq.target import PLAIN
from tests.steps import images, merged

METHODS = [MinMax(), Percentile(), Mse(), Entropy(), Kl()]


def changed(name: str, initializer: str, index: object, number: float) -> FloatModel:
    model = merged(name)
    copy = model.graph.clone()
    stored = copy.graph.initializers[initializer]
    assert stored.const_value is not None
    array = stored.const_value.numpy().copy()
    array[index] = number
    stored.const_value = ir.tensor(array, name=initializer)
    return FloatModel(copy, model.detector)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["weight", "bias"])
def test_weights_that_are_not_finite_are_named_with_their_layer(part: str, number: float) -> None:
    model = changed("repvgg", f"block.conv.{part}", 0, number)
    with pytest.raises(ModelError, match=r"layer block\.conv: \d+ of \d+ numbers in block\.conv"):
        collect(model, ["stem.relu"], [images(model)])


def test_an_open_end_of_a_clip_is_no_fault() -> None:
    model = merged("repvgg")
    copy = model.graph.clone()
    values = [
        ir.Value(name=name, const_value=ir.tensor(np.array(x, np.float32), name=name))
        for name, x in (("low", 0.0), ("high", np.inf))
    ]
    for value in values:
        copy.graph.register_initializer(value)
    copy.graph.insert_after(
        copy.graph[-1], ir.Node("", "Clip", [copy.graph.outputs[0], *values], name="clip")
    )
    check_weights(copy.graph)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (
            255.0,
            r"images: images range from \S+ to 25\d\.?\d* where the network is made for 0 to 1",
        ),
        (-1.0, "images range from -"),
        (1 / 255, "no image is brighter than 0.00392"),
    ],
)
def test_images_of_another_range_are_caught(factor: float, message: str) -> None:
    model = merged("repvgg")
    with pytest.raises(CalibrationError, match=message):
        collect(model, ["stem.relu"], [images(model) * np.float32(factor)])


def test_a_dark_image_among_others_is_an_image() -> None:
    model = merged("repvgg")
    collect(model, ["stem.relu"], [images(model) * np.float32(0.001), images(model)])


@pytest.mark.parametrize("method", METHODS, ids=lambda m: str(m.__struct_config__.tag))
def test_dead_and_constant_channels_get_scales_that_are_positive(method: object) -> None:
    model = changed("repvgg", "stem.conv.weight", slice(0, 3), 0.0)
    model_graph = model.graph.graph
    bias = model_graph.initializers["stem.conv.bias"]
    assert bias.const_value is not None
    array = bias.const_value.numpy().copy()
    array[0], array[1] = -1, 0.7  # dead behind the ReLU, and the same everywhere
    bias.const_value = ir.tensor(array, name=bias.name)
    placement = place(model, PLAIN)
    seen = collect(model, [point.value for point in placement.points], [images(model)])
    assert seen["stem.relu"].channel_maximum[0] == 0
    low, high = seen["stem.relu"].channel_minimum[1], seen["stem.relu"].channel_maximum[1]
    assert low == high > 0
    ranges = choose_ranges(CalibrationStats(seen, ()), placement, estimator_from(method))  # type: ignore[arg-type]
    made = quantize(model, placement, ranges).graph
    scales = [*scales_of(made).values(), *(scale for _, _, scale in weights_of(made))]
    assert scales
    assert all(np.isfinite(scale).all() and (scale > 0).all() for scale in scales)


def test_a_network_of_zeros_everywhere() -> None:
    model = changed("repvgg", "stem.conv.weight", slice(None), 0.0)
    stored = model.graph.graph.initializers["stem.conv.bias"]
    assert stored.const_value is not None
    stored.const_value = ir.tensor(np.zeros_like(stored.const_value.numpy()), name=stored.name)
    placement = place(model, PLAIN)
    seen = collect(model, [point.value for point in placement.points], [images(model)])
    for method in METHODS:
        ranges = choose_ranges(CalibrationStats(seen, ()), placement, estimator_from(method))
        for scale in scales_of(quantize(model, placement, ranges).graph).values():
            assert np.isfinite(scale) and scale > 0
