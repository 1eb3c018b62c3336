import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="runs the graph")

import onnx_ir as ir  # noqa: E402

from detq.channel_factors import largest_magnitudes  # noqa: E402
from detq.channel_trial import Trial, try_balances, worth_it  # noqa: E402
from detq.equalize import equalize  # noqa: E402
from detq.graph.execute import compile_slice, execute, parameters  # noqa: E402
from detq.model import FloatModel  # noqa: E402
from detq.observe import collect  # noqa: E402
from detq.placement import place  # noqa: E402
from detq.quantized import quantize  # noqa: E402
from detq.ranges import choose_ranges, estimator_from  # noqa: E402
from detq.recipe import MinMax  # noqa: E402
from detq.stats import CalibrationStats  # noqa: E402
from detq.target import PLAIN  # noqa: E402
from tests.steps import images, merged  # noqa: E402


def observed(model):
    return collect(model, {p.value for p in place(model, PLAIN).points}, [images(model, 4)])


def minmax(stats, placement):
    return choose_ranges(CalibrationStats(stats, ()), placement, estimator_from(MinMax()))


def tried(model, balances=(0.5, 1.0)):
    placement, stats = place(model, PLAIN), observed(model)
    found = try_balances(
        model, placement, largest_magnitudes(stats), minmax(stats, placement),
        [images(model, 2, seed=4)], balances=balances,
    )  # fmt: skip
    return {trial.group: trial for trial in found}


def with_outlier(name, factor=30.0):
    """Channel 2 of the stem so many times as large, and its reader made for it."""
    copy = merged(name).graph.clone()
    for initializer, index, times in (
        ("stem.conv.weight", 2, factor),
        ("stem.conv.bias", 2, factor),
        ("block.conv.weight", (slice(None), 2), 1 / factor),
    ):
        stored = copy.graph.initializers[initializer]
        array = stored.const_value.numpy().copy()
        array[index] *= np.float32(times)
        stored.const_value = ir.tensor(array, name=initializer)
    return FloatModel(copy, merged(name).detector)


def run(graph, feed, x, name):
    program = compile_slice(graph, [feed], [name])
    return execute(program, {feed: torch.from_numpy(x)}, parameters(program))[name].double()


def test_an_outlying_channel_is_worth_evening_out():
    model = with_outlier("repvgg")
    found = tried(model)["stem.relu"]
    assert found.best[1] > 3
    assert not found.multiplies
    assert worth_it([found], 1.0) == {"stem.relu": found.best[0]}


def test_the_gain_is_that_of_the_files():
    """The layer alone, in the Q/DQ graphs of both forms, on the float network's input."""
    model = with_outlier("repvgg")
    wanted_gain = tried(model, (1.0,))["stem.relu"].gains_db[1.0]
    stats = observed(model)
    even = equalize(model, place(model, PLAIN), stats, balances={"stem.relu": 1.0}).model
    feed, errors = images(model, 2, seed=4), []
    for form in (model, even):
        placement, seen = place(form, PLAIN), observed(form)
        file = quantize(form, placement, minmax(seen, placement)).graph.graph
        x = run(form.graph.graph, "images", feed, "stem.relu").float().numpy()
        wanted = run(form.graph.graph, "stem.relu", x, "block.conv")
        errors.append(float((run(file, "stem.relu", x, "block.conv") - wanted).square().sum()))
    # Ranges of the even network are observed anew, in float32.
    assert wanted_gain == pytest.approx(10 * math.log10(errors[0] / errors[1]), abs=0.1)


def test_a_multiplication_has_to_gain_more():
    found = [Trial("free", {0.5: 0.2, 1.0: 0.1}, False), Trial("mul", {0.5: 0.2, 1.0: 0.4}, True)]
    assert worth_it(found, 0.0) == {"free": 0.5, "mul": 1.0}
    assert worth_it(found, 1.0) == {"free": 0.5}
    assert worth_it([Trial("worse", {1.0: -2.0}, False)], 0.0) == {}


def test_a_multiplication_stays_behind_silu_alone():
    found = tried(merged("silu"))
    assert {group for group, trial in found.items() if not trial.multiplies} == {"stem.relu"}
    assert len(found) > 1


def test_depthwise_layers_lose_nothing():
    model = merged("mobileone")
    placement, stats = place(model, PLAIN), observed(model)
    found = try_balances(
        model, placement, largest_magnitudes(stats), minmax(stats, placement), [images(model, 4)]
    )
    gains = next(trial.gains_db for trial in found if trial.group == "stem.relu")
    assert gains[1.0] > gains[0.25] > 0


def test_channels_that_are_all_dead_are_not_tried():
    model = merged("repvgg")
    placement, stats = place(model, PLAIN), observed(model)
    dead = {name: np.zeros_like(top) for name, top in largest_magnitudes(stats).items()}
    assert try_balances(model, placement, dead, minmax(stats, placement), [images(model, 1)]) == ()
