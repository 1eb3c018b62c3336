from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from detq.learn.cut import Cut
from detq.learn.descend import Way, descend
from detq.learn.int8_layers import int8_layers
from detq.learn.objective import objective_for
from detq.learn.reconstruct import Plan, Walk
from detq.learn.straight_through import STRAIGHT_THROUGH
from detq.learn.trainables import (
    Trainable,
    learned_affine,
    learned_integers,
    learned_rounding,
    learned_scale,
)
from detq.learn.units import layer_units
from tests.learn.tasks import SIX_BITS, task


@pytest.fixture
def walk() -> Walk:
    """In front of the second layer of a tiny network."""
    given = task("repvgg", SIX_BITS)
    units = layer_units(given.floated, int8_layers(given.quantized))
    found = Walk(given, units, Plan(steps=1, batch=2))
    params = given.float_parameters("cpu")
    found.floats.advance(0, params)
    found.rounded.advance(0, found.state.params)
    found.floats.advance(1, params)
    return found


def way_of(walk: Walk, metric: str = "mse") -> Way:
    objective = objective_for(
        walk.units[1], walk.floats, metric=metric, scope="block", stage_weight=1, classes={}
    )  # type: ignore[arg-type]
    return Way(walk.rounded, walk.rounded.slices[1], walk.rounded.rests[1], None, objective)


def smooth(walk: Walk) -> Iterator[tuple[str, Trainable, float]]:
    state, layer = walk.state, walk.state.layers[1]
    spread = torch.full((len(state.params[layer.parts[0].scale]),), 0.3)
    yield "affine", learned_affine(state, layer, spread, gain=True, shift=True), 0.02
    weights = walk.float_weights(layer.name)
    yield "rounding", learned_rounding(state, layer.parts[0], weights, steps=10), 0.05


def test_gradients_are_those_of_finite_differences(walk: Walk) -> None:
    way, rows = way_of(walk), slice(0, 2)
    for name, trainable, step in smooth(walk):

        def loss(trainable: Trainable = trainable) -> Tensor:
            return way.loss(rows, {**walk.state.params, **trainable.soft()})

        loss().backward()
        for leaf, _ in trainable.leaves:
            assert leaf.grad is not None
            index = int(leaf.grad.abs().argmax())
            flat = leaf.detach().reshape(-1)
            around = []
            for sign in (1, -1):
                with torch.no_grad():
                    flat[index] += sign * step
                    around.append(float(loss()))
                    flat[index] -= sign * step
            slope = (around[0] - around[1]) / (2 * step)
            assert float(leaf.grad.reshape(-1)[index]) == pytest.approx(slope, rel=0.03), name


def test_every_kind_starts_where_the_state_is(walk: Walk) -> None:
    state, layer = walk.state, walk.state.layers[1]
    scale = next(name for name in walk.rounded.slices[1].constants if name.endswith("relu.scale"))
    weights = walk.float_weights(layer.name)
    kinds = [trainable for _, trainable, _ in smooth(walk)]
    kinds.append(learned_integers(state, layer.parts[0], weights))
    kinds.append(learned_scale(state, scale, 31))
    for kind in kinds:
        for name, tensor in kind.hard(state).items():
            assert tensor.dtype == state.params[name].dtype
            assert tensor.equal(state.params[name]), name


def test_the_state_stays_if_the_end_is_worse(walk: Walk) -> None:
    way, state = way_of(walk), walk.state
    leaf = torch.zeros((), requires_grad=True)
    name = state.layers[1].parts[0].scale
    harm = Trainable(
        ((leaf, 0.0),),
        lambda: {name: state.params[name] * (1 + leaf)},
        lambda state: {name: state.params[name] * 2},
    )
    before, learned = dict(state.params), set(state.learned)
    options = {"steps": 2, "batch": 2, "on_step": lambda step: None}
    found = descend(way, state, [harm], generator=torch.Generator(), **options)  # type: ignore[arg-type]
    assert found[0] == found[1]
    assert all(state.params[key] is before[key] for key in before)
    assert state.learned == learned


def test_where_nothing_may_change_nothing_does(walk: Walk) -> None:
    way, state = way_of(walk), walk.state
    before, after = descend(
        way, state, [], steps=2, batch=2, generator=torch.Generator(), on_step=lambda step: None
    )
    assert before == after == way.loss_on_all(state.params)


def test_losses_are_those_of_the_state(walk: Walk) -> None:
    way, state = way_of(walk), walk.state
    trainables = [trainable for _, trainable, _ in smooth(walk)]
    before, after = descend(
        way, state, trainables[:1], steps=30, batch=2, generator=torch.Generator(),
        on_step=lambda step: None,
    )  # fmt: skip
    assert after < before
    assert after == pytest.approx(way.loss_on_all(state.params), rel=1e-6)


def test_metrics_by_hand(walk: Walk) -> None:
    made = walk.rounded.run(walk.rounded.slices[1], walk.state.params)
    name = walk.units[1].outputs[0]
    found = torch.cat([batch[name] for _, batch in made])
    wanted = walk.floats.store.read(name, slice(None))
    off = ((found - wanted) / wanted.abs().mean()).double().numpy()
    bent = np.where(np.abs(off) < 0.02, off**2 / 2 / 0.02, np.abs(off) - 0.01)
    for metric, value in (("mae", np.abs(off)), ("mse", off**2), ("huber", bent)):
        got = way_of(walk, metric).loss_on_all(walk.state.params)
        assert got == pytest.approx(float(value.mean()), rel=1e-4), metric


def test_the_straight_through_graph_gives_the_numbers_of_the_graph() -> None:
    given = task("lite", SIX_BITS)
    units = layer_units(given.floated, int8_layers(given.quantized))
    found = []
    for table in (None, STRAIGHT_THROUGH):
        store = given.stores("cpu")[1]
        graph = given.quantized.graph.graph
        cut = Cut(graph, units, store, 4, *([table] if table else []))
        params = Walk(given, units, Plan(steps=1, batch=1)).state.params
        for index in range(len(units)):
            cut.advance(index, params)
        found.append(store.read(units[-1].outputs[0], slice(None)))
    assert found[0].equal(found[1])
