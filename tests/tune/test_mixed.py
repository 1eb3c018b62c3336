import pytest

pytest.importorskip("torch", reason="networks are run in torch")

import torch

from detq.placement import place
from detq.target import PLAIN, Target
from detq.tune.mixed import Choice
from tests.steps import merged
from tests.tune.networks import NAMES, feed, in_both_forms, run_file, with_float

SIX_BITS = Target("six", activation_bits=6)
TARGETS = [PLAIN, SIX_BITS, Target("cpu", unsigned_activations=True, shifted_activations=True)]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_and_everything_are_the_two_files(name: str, target: Target) -> None:
    model, quantized, mixed = in_both_forms(name, target)
    feeds = feed(model, mixed)
    for choice, file in (
        (Choice(), model.graph.graph), (mixed.everything, quantized.graph.graph),
    ):  # fmt: skip
        found = mixed.run(mixed.program(choice, mixed.outputs), feeds)
        for output, wanted in run_file(file, feeds).items():
            assert torch.equal(found[output], wanted)


@pytest.mark.parametrize("name", NAMES)
def test_one_layer_left_out_is_the_file_that_leaves_it_float(name: str) -> None:
    model, _, mixed = in_both_forms(name)
    feeds = feed(model, mixed)
    for layer in mixed.layers:
        kept = place(merged(name), PLAIN, {layer.node: "a try"})
        if not {p.value for p in kept.points} <= {p.value for p in mixed.placement.points}:
            continue  # the residual turned round, and its other side is rounded now
        wanted = run_file(with_float(name, layer.node).graph.graph, feeds)
        choice = mixed.without([layer.node], kept)
        found = mixed.run(mixed.program(choice, mixed.outputs), feeds)
        for output in wanted:
            assert torch.equal(found[output], wanted[output]), layer.node


@pytest.mark.parametrize("name", NAMES)
def test_one_layer_alone_rounds_its_own_input_and_weights(name: str) -> None:
    model, _, mixed = in_both_forms(name)
    feeds = feed(model, mixed)
    for layer in mixed.layers:
        choice = mixed.alone(layer.node)
        assert choice.edges == {(layer.node, mixed.input_of(layer.node))}
        output, read = mixed.output_of(layer.node), mixed.input_of(layer.node)
        names = [output, *([read] if read != mixed.feed else [])]
        values = mixed.run(mixed.program(choice, names), feeds)
        as_float = mixed.run(mixed.program(Choice(), names), feeds)
        if read != mixed.feed:  # what is in front of it is float
            assert torch.equal(values[read], as_float[read])
        alone = mixed.run(
            mixed.program(choice, [output], [read]), {read: {**feeds, **values}[read]}
        )
        assert torch.equal(values[output], alone[output])


def test_a_group_rounds_its_tensors_alone() -> None:
    _, quantized, mixed = in_both_forms("upsample")
    groups = {name: mixed.group(name) for name in quantized.placement.groups}
    edges = [edge for choice in groups.values() for edge in choice.edges]
    assert len(edges) == len(set(edges))
    assert set(edges) == mixed.everything.edges
    assert all(not choice.layers for choice in groups.values())


def test_a_program_frees_what_it_needs_no_more() -> None:
    _, _, mixed = in_both_forms("residual")
    program = mixed.program(mixed.everything, mixed.outputs)
    freed = [name for step in program.steps for name in step.last_use]
    made = [name for step in program.steps for name in step.outputs]
    assert sorted(freed) == sorted([mixed.feed, *(x for x in made if x not in program.outputs)])
