import math

import pytest

torch = pytest.importorskip("torch", reason="runs the graph")

from detq.graph.execute import compile_slice, execute, parameters  # noqa: E402
from detq.observe import collect  # noqa: E402
from detq.placement import place  # noqa: E402
from detq.quantized import quantize, weights_of  # noqa: E402
from detq.ranges import choose_ranges, estimator_from  # noqa: E402
from detq.recipe import MinMax  # noqa: E402
from detq.repquant import linear_inputs, place_linear, reparameterize_layer_norms  # noqa: E402
from detq.stats import CalibrationStats  # noqa: E402
from detq.target import PLAIN, with_grids  # noqa: E402
from tests.repquant.vit import vit  # noqa: E402
from tests.steps import images  # noqa: E402

LAYERS = ["query", "key", "value", "project", "fc1", "fc2"]


def placed(model, target=PLAIN, float_layers=None):
    return place_linear(model, place(model, target), target, float_layers)


def observed(model):
    values = linear_inputs(model) | {point.value for point in place(model, PLAIN).points}
    return collect(model, values, [images(model, 8)])


def quantized(model, target=PLAIN):
    placement = placed(model, target)
    stats = CalibrationStats(observed(model), ())
    return quantize(model, placement, choose_ranges(stats, placement, estimator_from(MinMax())))


def test_linear_layers_are_placed_and_the_last_one_stays_float():
    placement = placed(vit())
    linear = [layer for layer in placement.layers if layer.operator == "MatMul"]
    assert [layer.node for layer in linear] == LAYERS
    assert all(layer.int8 and layer.axis == 1 for layer in linear)
    shared = [point for point in placement.points if point.value == "norm1"]
    assert [point.consumers for point in shared] == [("query", "key", "value")]


def test_a_recipe_may_leave_them_float():
    placement = placed(vit(), float_layers={"fc?": "for a test"})
    kept = {layer.node: layer.reason for layer in placement.layers if not layer.int8}
    assert kept["fc1"] == kept["fc2"] == "recipe: for a test"
    assert "norm2" not in {point.value for point in placement.points}


def test_every_output_has_a_scale_of_its_own_in_any_layout():
    model = quantized(vit(gemm=True))
    scales = {name: (codes.shape, scale.shape) for name, codes, scale in weights_of(model.graph)}
    assert scales["fc1.weight"] == ((32, 16), (32,))
    assert scales["query.weight"] == ((16, 16), (16,))


def test_one_scale_behind_a_norm_is_enough_afterwards():
    def snr_db(model, bits):
        target = with_grids(PLAIN, weight_bits=8, activation_bits=bits, per_tensor_weights=False)
        file = quantized(model, target).graph.graph
        feed = {"images": torch.from_numpy(images(model, 4, seed=5))}
        runs = [compile_slice(graph, ["images"]) for graph in (model.graph.graph, file)]
        wanted, got = (execute(run, feed, parameters(run))["outputs"] for run in runs)
        return 10 * math.log10(wanted.square().sum() / (wanted - got).square().sum())

    for bits in (6, 8):
        model = vit()
        evened = reparameterize_layer_norms(model, observed(model)).model
        assert snr_db(evened, bits) > snr_db(model, bits) + 3
