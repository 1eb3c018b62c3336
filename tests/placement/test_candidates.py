import random
from dataclasses import replace

import pytest

from detq.placement import candidates, place
from detq.target import PLAIN, Target
from tests.steps import merged
from tests.zoo import ZOO

pytest.importorskip("torch", reason="merging is checked in torch")

UNSIGNED = Target("cpu", unsigned_activations=True)
PREDICTIONS = replace(PLAIN, predictions=True)


@pytest.mark.parametrize("name", list(ZOO))
def test_every_point_of_every_choice_is_among_them(name: str) -> None:
    model = merged(name)
    known = candidates(model)
    layers = [layer.node for layer in place(model, PLAIN).layers]
    rng = random.Random(name)
    choices = [
        [],
        *([layer] for layer in layers),
        *(rng.sample(layers, rng.randint(0, len(layers))) for _ in range(20)),
    ]
    for choice in choices:
        for target in (PLAIN, UNSIGNED, PREDICTIONS):
            found = place(model, target, dict.fromkeys(choice, "tried"))
            assert {point.value for point in found.points} <= known, choice


def test_a_residual_that_turns_round_needs_more_than_one_choice() -> None:
    model = merged("residual")
    usual = {point.value for point in place(model, PLAIN).points}
    assert usual < candidates(model)


def test_they_are_no_more_than_what_layers_read_copy_or_give_to_the_decoding() -> None:
    model = merged("tiny_detector")
    usual = {point.value for point in place(model, PREDICTIONS).points}
    predictions = {layer.node for layer in place(model, PLAIN).layers if not layer.int8}
    given = {n.outputs[0].name for n in model.graph.graph if n.name in predictions}
    assert candidates(model) == usual | given  # no residual, so nothing can turn
