from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="runs the graph")

from detq import equalize as module  # noqa: E402
from detq.channel_factors import SMALLEST  # noqa: E402
from detq.equalize import equalize  # noqa: E402
from detq.errors import NotEquivalentError  # noqa: E402
from detq.graph.execute import compile_slice, execute, parameters  # noqa: E402
from detq.observe import collect  # noqa: E402
from detq.placement import place  # noqa: E402
from detq.target import PLAIN  # noqa: E402
from tests.steps import images, merged  # noqa: E402
from tests.zoo import ZOO  # noqa: E402


def observed(model, placement):
    return collect(model, {point.value for point in placement.points}, [images(model, 4)])


def evened(name, least_spread=1.0, **options):
    model = merged(name)
    placement = place(model, PLAIN)
    stats = observed(model, placement)
    return model, equalize(model, placement, stats, least_spread=least_spread, **options)


def run(model, feed):
    program = compile_slice(model.graph.graph, ["images"])
    return execute(program, {"images": torch.from_numpy(feed)}, parameters(program))


@pytest.mark.parametrize("name", list(ZOO))
def test_function_is_kept_and_the_argument_left_alone(name):
    before = merged(name).graph
    nodes = [node.name for node in before.graph]
    model, found = evened(name)
    assert [node.name for node in before.graph] == nodes
    feed = images(model, 2, seed=7)
    wanted, got = run(model, feed), run(found.model, feed)
    for output, value in wanted.items():
        assert (got[output] - value).abs().max() <= 2e-5 * value.abs().max()


def tops(stats, points):
    """Largest magnitude of every channel, by tensor."""
    return {
        p.value.removesuffix(".even"): np.maximum(
            -stats[p.value].channel_minimum, stats[p.value].channel_maximum
        )
        for p in points
    }


@pytest.mark.parametrize("name", ["sppf", "bifpan", "upsample", "tiny_detector"])
def test_channels_of_a_group_reach_one_range(name):
    model, found = evened(name)
    before, after = place(model, PLAIN), place(found.model, PLAIN)
    old = observed(model, before)
    new = tops(observed(found.model, after), after.points)
    assert found.groups
    for group in found.groups:
        was = tops(old, before.groups[group])
        largest = max(top.max() for top in was.values())
        for value, top in was.items():
            share = top / largest
            wanted = largest * np.minimum(1, share / SMALLEST)
            alive = share > 1e-6
            np.testing.assert_allclose(new[value][alive], wanted[alive], rtol=1e-3)


def test_nothing_is_done_below_the_least_spread():
    model, found = evened("repvgg", least_spread=1e9)
    assert found.groups == ()
    assert len(list(found.model.graph.graph)) == len(list(model.graph.graph))


def test_balance_zero_changes_no_weight():
    model, found = evened("repvgg", balance=0.0)
    old = model.graph.graph.initializers
    for name, value in found.model.graph.graph.initializers.items():
        if name in old and "even" not in name:
            np.testing.assert_array_equal(value.const_value.numpy(), old[name].const_value.numpy())


def test_factors_behind_relu_vanish_into_the_convolution():
    _, found = evened("repvgg")
    assert found.groups
    assert found.multiplications == ()


def test_residual_tensor_is_left_alone():
    model = merged("bottlerep_alpha")
    placement = place(model, PLAIN)
    readers = {str(n.name): n.op_type for n in model.graph.graph}
    skips = {
        p.group for p in placement.points if {readers[n] for n in p.consumers} & {"Add", "Mul"}
    }
    found = equalize(model, placement, observed(model, placement), least_spread=1.0)
    assert skips
    assert not skips & set(found.groups)


def test_wrong_weights_are_noticed(monkeypatch):
    kept = module._scale_weights
    monkeypatch.setattr(module, "_scale_weights", lambda graph, node, f: kept(graph, node, f * 1.5))
    with pytest.raises(NotEquivalentError, match="evening out channels changed the output"):
        evened("repvgg")


def test_dead_channels_keep_their_scale():
    model = merged("repvgg")
    placement = place(model, PLAIN)
    stats = observed(model, placement)
    dead = {
        name: replace(
            seen,
            channel_minimum=np.zeros_like(seen.channel_minimum),
            channel_maximum=np.zeros_like(seen.channel_maximum),
        )
        for name, seen in stats.items()
    }
    assert equalize(model, placement, dead, least_spread=1.0).groups == ()
