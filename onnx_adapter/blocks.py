"""Nodes that belong together: residual units, parallel branches, a convolution and its activation.

A unit is what lies between a node where several ways meet and the node that dominates it,
if nothing inside is read from outside. Ways that meet in a Concat join features of a whole
network, not of a unit, and so do ways that change their resolution upwards.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from onnx_adapter.flow import START, Flow

CONVOLUTION, BRANCHES, RESIDUAL, GATE = "convolution", "branches", "residual", "gate"

WEIGHTED = ("Conv", "ConvTranspose")
_MEETING = ("Add", "Sum", "Mul", "Sub", "Max", "Min")
_NOT_INSIDE = ("Concat", "Resize", "ConvTranspose")
_ELEMENTWISE = (
    "Add", "BatchNormalization", "Clip", "Div", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish",
    "LeakyRelu", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "Relu", "Sigmoid", "Softplus",
    "Sub", "Tanh",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unit:
    """One block.

    Attributes:
        kind: how its ways meet.
        nodes: their numbers, in the order of the graph.
    """

    kind: str
    nodes: tuple[int, ...]


def find_blocks(flow: Flow, left_out: AbstractSet[int]) -> tuple[Unit, ...]:
    """Units in the order of their first node; no node is in two of them.

    Args:
        flow: of the graph.
        left_out: nodes that are in none, the decoding.
    """
    owner: dict[int, int] = {}
    kinds: list[str] = []
    for exit_, inside in sorted(_regions(flow, left_out).items(), key=lambda x: -len(x[1])):
        if not inside & owner.keys():
            owner.update(dict.fromkeys(inside, len(kinds)))
            kinds.append(_kind(flow, exit_))
    for node, step in enumerate(flow.nodes):
        if node in owner or node in left_out:
            continue
        if step.op_type in WEIGHTED:
            owner[node] = len(kinds)
            kinds.append(CONVOLUTION)
        elif step.op_type in _ELEMENTWISE:
            sources = {owner.get(source) for source in flow.before[node]}
            if len(sources) == 1 and None not in sources:
                owner[node] = sources.pop()  # type: ignore[assignment]
    return _units(owner, kinds)


def _units(owner: Mapping[int, int], kinds: Sequence[str]) -> tuple[Unit, ...]:
    members: dict[int, list[int]] = {}
    for node in sorted(owner):
        members.setdefault(owner[node], []).append(node)
    return tuple(Unit(kinds[number], tuple(nodes)) for number, nodes in members.items())


def _kind(flow: Flow, exit_: int) -> str:
    """How the last ways meet: around the unit, gating it, or side by side."""
    around = flow.dominators[exit_] in flow.before[exit_]
    gated = flow.nodes[exit_].op_type == "Mul"
    return (GATE if gated else RESIDUAL) if around else BRANCHES


def _regions(flow: Flow, left_out: AbstractSet[int]) -> dict[int, frozenset[int]]:
    """Exit → the nodes of a unit, for every unit of several ways with a convolution inside."""
    found = {}
    for node, step in enumerate(flow.nodes):
        if step.op_type not in _MEETING or len(step.inputs) < 2 or node in left_out:
            continue
        inside = _inside(flow, node, left_out)
        if any(flow.nodes[n].op_type in WEIGHTED for n in inside):
            found[node] = inside
    return found


def _inside(flow: Flow, exit_: int, left_out: AbstractSet[int]) -> frozenset[int]:
    """Nodes from behind the dominator of ``exit_`` up to it; none if it is no unit."""
    entry = flow.dominators[exit_]
    inside = {exit_}
    waiting = [exit_]
    while waiting:
        for source in flow.before[waiting.pop()]:
            if source == entry or source in inside:
                continue
            if source == START or source in left_out or flow.nodes[source].op_type in _NOT_INSIDE:
                return frozenset()
            inside.add(source)
            waiting.append(source)
    closed = all(n not in flow.ends and set(flow.after[n]) <= inside for n in inside if n != exit_)
    return frozenset(inside) if closed and len(inside) > 1 else frozenset()
