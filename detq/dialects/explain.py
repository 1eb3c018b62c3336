"""INT8 or not, why, which scales, which tie group: an answer for every layer of a file."""

from dataclasses import dataclass

import onnx_ir as ir

from detq.graph.qdq import pair_behind, stored_behind
from detq.graph.stored import array_of
from detq.placement.layers import WEIGHTED
from detq.plan import Placement
from detq.quantized import SCALE, WHY

_TYPES = (".float16", ".float32")


@dataclass(frozen=True, slots=True)
class Answer:
    """One layer with weights.

    Attributes:
        layer: name of the node.
        operator: ONNX operator.
        int8: whether input and weights are rounded.
        why: the rule, in words.
        input: name of the tensor it reads, in front of the Q.
        input_scale: width of one step of it; None in float.
        weight_scales: smallest and largest width of a step of the weights; None in float.
        group: name of the tie group of the input; empty in float.
        members: tensors in that group.
    """

    layer: str
    operator: str
    int8: bool
    why: str
    input: str
    input_scale: float | None
    weight_scales: tuple[float, float] | None
    group: str
    members: int


def explain(model: ir.Model) -> tuple[Answer, ...]:
    """Every layer with weights, in the order of the graph.

    Args:
        model: Q/DQ or float graph; ``why`` is only known of files of detq.
    """
    members: dict[str, set[str]] = {}
    for node in model.graph:
        pair = pair_behind(node.outputs[0])
        if pair is not None:
            members.setdefault(_group(pair.scale), set()).add(str(pair.tensor.name))
    return tuple(_answer(node, members) for node in model.graph if node.op_type in WEIGHTED)


def planned(graph: ir.Graph, placement: Placement) -> tuple[Answer, ...]:
    """The answers before anything was calibrated: there are no scales yet.

    Args:
        graph: the float graph that ``placement`` was made for.
        placement: from ``place``.
    """
    nodes = {str(node.name): node for node in graph}
    groups = {point.value: point.group for point in placement.points}
    found = []
    for layer in placement.layers:
        x = nodes[layer.node].inputs[0]
        name = "" if x is None else str(x.name)
        group = groups.get(name, "") if layer.int8 else ""
        members = len(placement.groups[group]) if group else 0
        found.append(
            Answer(
                layer.node,
                layer.operator,
                layer.int8,
                layer.reason,
                name,
                None,
                None,
                group,
                members,
            )
        )
    return tuple(found)


def int8_layers(graph: ir.Graph) -> frozenset[ir.Node]:
    """Layers whose input and weights are both rounded."""
    return frozenset(
        node
        for node in graph
        if node.op_type in WEIGHTED
        and pair_behind(node.inputs[0]) is not None
        and stored_behind(node.inputs[1]) is not None
    )


def _answer(node: ir.Node, members: dict[str, set[str]]) -> Answer:
    pair, stored = pair_behind(node.inputs[0]), stored_behind(node.inputs[1])
    x = pair.tensor if pair is not None else _before_cast(node.inputs[0])
    scale = None if pair is None else array_of(pair.scale)
    group = _group(pair.scale) if pair is not None else ""
    int8 = pair is not None and stored is not None
    return Answer(
        layer=str(node.name),
        operator=node.op_type,
        int8=int8,
        why=node.metadata_props.get(WHY) or _seen(pair is not None, stored is not None),
        input="" if x is None else str(x.name),
        input_scale=None if scale is None else float(scale.reshape(-1)[0]),
        weight_scales=None
        if stored is None
        else (float(stored.scale.min()), float(stored.scale.max())),
        group=group,
        members=len(members.get(group, ())),
    )


def _before_cast(value: ir.Value | None) -> ir.Value | None:
    cast = None if value is None else value.producer()
    return cast.inputs[0] if cast is not None and cast.op_type == "Cast" else value


def _seen(rounded: bool, weights: bool) -> str:
    """What the graph alone says."""
    if rounded and weights:
        return "input and weights are rounded"
    if not rounded and not weights:
        return "neither input nor weights are rounded"
    return f"only its {'input is' if rounded else 'weights are'} rounded"


def _group(scale: ir.Value) -> str:
    """The group that a scale is named after; the same for its copy in another type."""
    name = str(scale.name)
    for suffix in (*_TYPES, f".{SCALE}"):
        name = name.removesuffix(suffix)
    return name
