"""What is calibrated at a time: layers, blocks or stages, as names of values.

A unit is no more than the values it has to get right. What lies between them and the
values that are known already is its slice of the graph, so blocks and stages may branch, join
and leave nodes out; graphs from anywhere need no more than the marks that a ``FloatModel``
reads its blocks and stages from.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from detq.graph.build import DECODE, STAGE
from detq.graph.slices import values_by_name
from detq.learn.int8_layers import Int8Layer
from detq.model import FloatModel


@dataclass(frozen=True, slots=True)
class Unit:
    """Values to get right.

    Attributes:
        name: of the layer, block or stage.
        stage: it lies in; empty outside of all.
        outputs: values that are compared with those of the float graph.
        ends: outputs of the stage that depend on them; none outside of a stage.
        depth: of the stage's units the how manieth, above 0 to 1.
    """

    name: str
    stage: str
    outputs: tuple[str, ...]
    ends: tuple[str, ...] = ()
    depth: float = 1.0


def layer_units(model: FloatModel, layers: Iterable[Int8Layer]) -> tuple[Unit, ...]:
    """Every INT8 layer by itself, its stage left out of account."""
    stages = {node.name: node.metadata_props.get(STAGE, "") for node in model.graph.graph}
    return tuple(Unit(layer.name, stages[layer.name], (layer.output,)) for layer in layers)


def block_units(model: FloatModel, layers: Sequence[Int8Layer]) -> tuple[Unit, ...]:
    """Every block with an INT8 layer, and every INT8 layer outside of all, in the graph's order."""
    graph = model.graph.graph
    position = {node: i for i, node in enumerate(graph)}
    named = {str(node.name): node for node in graph}
    int8 = {named[part.node]: layer for layer in layers for part in layer.parts}
    found: list[tuple[int, Unit]] = []
    for block in model.blocks:
        held = [int8.pop(node) for node in block.nodes if node in int8]
        if held:
            unit = Unit(block.name, block.stage, leaving(graph, block.nodes))
            found.append((position[block.nodes[-1]], unit))
    for node, layer in int8.items():
        if node.name == layer.name:
            stage = node.metadata_props.get(STAGE, "")
            found.append((position[node], Unit(layer.name, stage, (layer.output,))))
    in_order = [unit for _, unit in sorted(found, key=lambda pair: pair[0])]
    return _with_stages(model, in_order)


def stage_units(units: Sequence[Unit]) -> tuple[Unit, ...]:
    """All blocks of a stage as one unit; what lies outside of stages stays apart.

    Args:
        units: from ``block_units``.
    """
    found: dict[str, Unit] = {}
    for unit in units:
        key = unit.stage or unit.name
        known = found.get(key, replace(unit, name=key, outputs=(), ends=(), depth=1.0))
        found[key] = replace(
            known,
            outputs=(*known.outputs, *unit.outputs),
            ends=tuple(dict.fromkeys((*known.ends, *unit.ends))),
        )
    return tuple(found.values())


def head_values(graph: ir.Graph) -> tuple[str, ...]:
    """What decoding reads: class logits and distances; without decoding, the graph's outputs."""
    inside = [node for node in graph if node.metadata_props.get(STAGE) != DECODE]
    found = leaving(graph, inside)
    return found or tuple(str(value.name) for value in graph.outputs)


def leaving(graph: ir.Graph, nodes: Collection[ir.Node]) -> tuple[str, ...]:
    """Values made by ``nodes`` that others read, or that the graph gives out."""
    inside = set(nodes)
    return tuple(
        str(value.name)
        for node in graph
        if node in inside
        for value in node.outputs
        if value.is_graph_output() or any(reader not in inside for reader in value.consumers())
    )


def _with_stages(model: FloatModel, units: Sequence[Unit]) -> tuple[Unit, ...]:
    graph = model.graph.graph
    ends = {
        stage: leaving(graph, [n for n in graph if n.metadata_props.get(STAGE) == stage])
        for stage in model.stages
        if stage != DECODE
    }
    count = {stage: sum(unit.stage == stage for unit in units) for stage in ends}
    seen = dict.fromkeys(ends, 0)
    values = values_by_name(graph)
    found = []
    for unit in units:
        if unit.stage in ends:
            seen[unit.stage] += 1
            behind = _behind([values[name] for name in unit.outputs])
            reached = tuple(name for name in ends[unit.stage] if values[name] in behind)
            unit = replace(unit, ends=reached, depth=seen[unit.stage] / count[unit.stage])
        found.append(unit)
    return tuple(found)


def _behind(values: Sequence[ir.Value]) -> set[ir.Value]:
    """The values and all that depends on them."""
    found, waiting = set(values), list(values)
    while waiting:
        for node in waiting.pop().consumers():
            for value in node.outputs:
                if value not in found:
                    found.add(value)
                    waiting.append(value)
    return found
