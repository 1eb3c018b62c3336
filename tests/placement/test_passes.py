from dataclasses import replace

import onnx_ir as ir
import pytest

from detq.errors import RecipeError
from detq.numerics import WEIGHTS_7_BIT
from detq.placement import place
from detq.placement.passes import (
    PASSES,
    Draft,
    Pass,
    cut_ties,
    decide_every_layer,
    round_copies,
    round_inputs,
    round_skips,
)
from detq.quantized import quantize, scales_of
from detq.ranges import choose_ranges, estimator_from
from detq.recipe import MinMax
from detq.stats import CalibrationStats
from detq.target import PLAIN, Kernels, Target
from tests.block_writer import Writer
from tests.steps import merged, observed, quantized
from tests.zoo import ZOO, network

CPU = Target(
    "cpu",
    unsigned_activations=True,
    weights=WEIGHTS_7_BIT,
    engine="cpu",
    kernels=Kernels(least_products=0, rounded_outputs=True, own_scales=True),
)
IDLE = replace(CPU, kernels=Kernels(least_products=40))


def _mixed(w: Writer, x: ir.Value) -> ir.Value:
    """A join of a tensor that can be negative with one that cannot."""
    signed = w.plain_conv(x, 8, 3, name="signed")
    return w.conv_module(w.concat([x, signed]), 8, 3, name="after")


# For every pass: a network that it changes, and one that it leaves alone; for which target.
CASES = {
    "decide_every_layer": ("repvgg", CPU, "", CPU),
    "leave_idle_layers_float": ("repvgg", IDLE, "repvgg", PLAIN),
    "round_inputs": ("repvgg", CPU, "", CPU),
    "round_skips": ("residual", CPU, "repvgg", CPU),
    "round_copies": ("sppf", CPU, "repvgg", CPU),
    "cut_ties": ("sppf", CPU, "repvgg", CPU),
    "round_outputs": ("repvgg", CPU, "repvgg", PLAIN),
    "free_unsigned_from_signed": ("mixed", CPU, "sppf", CPU),
}


def graph_of(name: str) -> ir.Graph:
    return network(_mixed).graph.graph if name == "mixed" else merged(name).graph.graph


def up_to(name: str, last: Pass, target: Target, cut: tuple[str, ...] = ()) -> Draft:
    """The draft in front of a pass."""
    draft = Draft(graph_of(name), target, cut_ties=cut)
    for step in PASSES:
        if step is last:
            break
        draft = step(draft)
    return draft


@pytest.mark.parametrize("step", PASSES, ids=lambda step: str(step.__name__))
def test_a_pass_changes_some_networks_and_leaves_others(step: Pass) -> None:
    changed, target, left, other = CASES[step.__name__]
    before = up_to(changed, step, target, ("sppf.m",) if step is cut_ties else ())
    assert step(before) != before
    if left:
        before = up_to(left, step, other)
        assert step(before) == before


@pytest.mark.parametrize("target", [PLAIN, CPU, IDLE])
@pytest.mark.parametrize("step", PASSES, ids=lambda step: str(step.__name__))
@pytest.mark.parametrize("name", ["sppf", "residual", "bifpan", "lite", "tiny_detector"])
def test_a_second_time_adds_nothing(name: str, step: Pass, target: Target) -> None:
    once = step(up_to(name, step, target))
    assert step(once) == once


@pytest.mark.parametrize("name", ZOO)
def test_the_graph_is_read_only(name: str) -> None:
    graph = merged(name).graph.graph
    before = [(node.name, [x and x.name for x in node.inputs]) for node in graph]
    draft = Draft(graph, CPU)
    for step in PASSES:
        draft = step(draft)
    assert [(node.name, [x and x.name for x in node.inputs]) for node in graph] == before


def test_points_say_which_rule_put_them_there() -> None:
    draft = Draft(merged("residual").graph.graph, PLAIN)
    for step in (decide_every_layer, round_inputs, round_skips, round_copies):
        draft = step(draft)
    assert set(draft.reasons.values()) == {"input of an INT8 layer"}  # the skip is one as well


def test_a_cut_tensor_has_a_scale_of_its_own() -> None:
    draft = up_to("sppf", cut_ties, PLAIN, ("sppf.m", "sppf.cv1.*"))
    after = cut_ties(draft)
    heads = {str(value.name): str(head.name) for value, head in after.heads.items()}
    assert heads["sppf.m"] == "sppf.m"
    assert heads["sppf.cv1.relu"] == "sppf.cv1.relu"
    assert heads["sppf.m_1"] == heads["sppf.concat"] == "sppf.m_1"
    assert after.points == draft.points


def test_a_cut_tie_is_cut_in_the_file() -> None:
    model = merged("sppf")
    placement = place(model, PLAIN, cut_ties=["sppf.m_2"])
    stats = CalibrationStats(observed(model), ())
    ranges = choose_ranges(stats, placement, estimator_from(MinMax()))
    found = scales_of(quantize(model, placement, ranges).graph)
    tied = scales_of(quantized(model).graph)
    assert tied["sppf.m_2"] == tied["sppf.concat"]
    assert set(found) == set(tied)
    assert placement.groups["sppf.m_2"] == tuple(
        point for point in placement.points if point.value == "sppf.m_2"
    )


@pytest.mark.parametrize("pattern", ["nothing", "stem.relu"])
def test_a_pattern_that_matches_no_tie(pattern: str) -> None:
    draft = up_to("sppf", cut_ties, PLAIN, (pattern,))
    with pytest.raises(RecipeError) as caught:
        cut_ties(draft)
    assert str(caught.value) == (
        f"$.cut_ties: pattern {pattern!r} matches no tensor that shares its scale "
        "(detq quantize --explain lists the tie groups)"
    )


def test_an_evened_tensor_answers_to_its_old_name() -> None:
    graph = merged("sppf").graph.clone().graph
    value = next(node for node in graph if node.name == "sppf.m").outputs[0]
    value.name = "sppf.m.even"
    draft = Draft(graph, PLAIN, cut_ties=("sppf.m",))
    for step in PASSES:
        draft = step(draft)
    assert draft.heads[value] is value
