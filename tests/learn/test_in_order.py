import numpy as np
import pytest
import torch

from detq.graph.execute import compile_slice, execute, parameters
from detq.learn import LEARNERS, Task
from detq.learn.in_order import Moments
from detq.learn.int8_layers import int8_layers
from detq.learn.qprep import least_squares
from detq.quantized import QuantizedModel, weights_of
from detq.recipe import BiasCorrection, QPRep
from tests.learn.tasks import SIX_BITS, task


def outputs(graph: object, names: list[str], given: Task) -> dict[str, np.ndarray]:
    program = compile_slice(graph, ["images"], names)  # type: ignore[arg-type]
    with torch.no_grad():
        found = execute(program, {"images": torch.from_numpy(given.images)}, parameters(program))
    return {name: x.double().transpose(0, 1).flatten(1).numpy() for name, x in found.items()}


def both(model: QuantizedModel, given: Task) -> list[tuple[np.ndarray, np.ndarray]]:
    names = [layer.output for layer in int8_layers(model)]
    wanted = outputs(given.floated.graph.graph, names, given)
    found = outputs(model.graph.graph, names, given)
    return [(found[name], wanted[name]) for name in names]


def test_behind_every_layer_least_squares_find_nothing_more() -> None:
    given = task("lite", SIX_BITS, count=12)
    learned = LEARNERS["qprep"](given, QPRep())
    for u, y in both(learned.model, given):
        for channel in range(len(u)):
            if u[channel].std() < 1e-6:
                continue
            gain, shift = np.polyfit(u[channel], y[channel], 1)
            assert gain == pytest.approx(1, abs=2e-3)
            assert shift == pytest.approx(0, abs=2e-3 * max(1.0, float(np.abs(y[channel]).max())))


def test_integers_are_not_rounded_again() -> None:
    given = task("bifpan", SIX_BITS)
    learned = LEARNERS["qprep"](given, QPRep())
    before = {name: q for name, q, _ in weights_of(given.quantized.graph)}
    for name, q, _ in weights_of(learned.model.graph):
        np.testing.assert_array_equal(np.abs(q), np.abs(before[name]))


def test_losses_are_the_squared_errors_of_the_layers() -> None:
    given = task("repvgg", SIX_BITS)
    learned = LEARNERS["qprep"](given, QPRep())
    for loss, (u, y) in zip(learned.losses, both(learned.model, given), strict=True):
        assert loss.after == pytest.approx(float(np.square(u - y).mean()), rel=1e-3)


def test_bias_correction_gives_every_mean_back_and_leaves_integers_and_scales() -> None:
    given = task("lite", SIX_BITS)
    learned = LEARNERS["bias_correction"](given, BiasCorrection())
    for u, y in both(learned.model, given):
        np.testing.assert_allclose(u.mean(1), y.mean(1), atol=1e-5 * np.abs(y).max(), rtol=0)
    for old, new in zip(
        weights_of(given.quantized.graph), weights_of(learned.model.graph), strict=True
    ):
        assert old[0] == new[0]
        np.testing.assert_array_equal(old[1], new[1])
        np.testing.assert_array_equal(old[2], new[2])


def test_a_layer_with_one_scale_has_one_gain() -> None:
    one, zero = torch.ones(3).double(), torch.zeros(3).double()
    seen = Moments(zero, one, 4 * one, 5 * one, torch.tensor([1.0, 2.0, 6.0]).double())
    gain, shift = least_squares(seen, per_channel=False)
    assert gain.tolist() == [0.75] * 3  # 9 over 12
    assert shift.tolist() == [1.0] * 3
    apart, _ = least_squares(seen, per_channel=True)
    assert apart.tolist() == [0.25, 0.5, 1.5]


def test_a_channel_that_does_not_vary_keeps_its_gain() -> None:
    var = torch.tensor([0.0, 2.0]).double()
    seen = Moments(torch.ones(2).double(), torch.full((2,), 3.0).double(), var, var, var)
    gain, shift = least_squares(seen, per_channel=True)
    assert gain.tolist() == [1.0, 1.0]
    assert shift.tolist() == [2.0, 2.0]
