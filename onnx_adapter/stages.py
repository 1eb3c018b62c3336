"""Stages: what lies between two changes of resolution, and a branch of the head each.

A node's stage is the largest number of changes of resolution on a way from the image to it.
A node with room to move, such as a lateral convolution that only a later stage reads, goes
to the first stage that reads it. So no way leaves a stage and comes back, a stage can be
cut out, and few values cross its borders.

A level of the head is what flows into the predictions of one resolution only, behind the
node that dominates them.
"""

from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from detq.graph.build import DECODE
from detq.graph.stored import array_of
from onnx_adapter.blocks import Unit
from onnx_adapter.decode import Decode
from onnx_adapter.flow import START, Flow

Place = tuple[int, int]  # network 0, head 1, decoding 2; and a number in it
_DECODING: Place = (2, 0)
_RESIZING = ("DepthToSpace", "Resize", "SpaceToDepth", "Upsample")


def find_stages(
    flow: Flow, decode: Decode, blocks: Iterable[Unit], strides: Mapping[int, int]
) -> list[Place]:
    """The stage of every node; in the order of their places, stages only read earlier ones.

    What computes a shape is where the shape is read.

    Args:
        flow: of the graph.
        decode: its end.
        blocks: units that are not divided.
        strides: prediction → pixels per cell.
    """
    network = sorted(flow.leading_to(decode.predictions))
    depth = _depths(flow, network)
    levels = _levels(flow, decode, strides)
    for unit in blocks:
        known = [node for node in unit.nodes if node in depth]
        depth.update(dict.fromkeys(known, max((depth[node] for node in known), default=0)))
        if len({levels.get(node) for node in unit.nodes}) > 1:
            for node in unit.nodes:
                levels.pop(node, None)
    found: dict[ir.Node, Place] = {flow.nodes[node]: _DECODING for node in decode.nodes}
    for number in network:
        place = (1, levels[number]) if number in levels else (0, depth[number])
        found[flow.nodes[number]] = place
    for step in reversed(flow.nodes):
        readers = [use.node for value in step.outputs for use in value.uses()]
        found.setdefault(step, min((found[reader] for reader in readers), default=_DECODING))
    return [found[step] for step in flow.nodes]


def stage_name(place: Place) -> str:
    """``stage_3``, ``head.level_0`` or ``decode``."""
    part, number = place
    return (f"stage_{number}", f"head.level_{number}", DECODE)[part]


def _depths(flow: Flow, network: Sequence[int]) -> dict[int, int]:
    """Node → number of changes of resolution up to it."""
    change = {node: int(changes_resolution(flow.nodes[node])) for node in network}
    first: dict[int, int] = {}
    for node in network:
        first[node] = change[node] + max((first[n] for n in flow.before[node] if n != START),
                                         default=0)  # fmt: skip
    last: dict[int, int] = {}
    found: dict[int, int] = {}
    for node in reversed(network):
        readers = [n for n in flow.after[node] if n in change]
        last[node] = min((last[n] - change[n] for n in readers), default=first[node])
        moves = last[node] > first[node]
        found[node] = min(found[n] for n in readers) if moves else first[node]
    return found


def changes_resolution(node: ir.Node) -> bool:
    """Whether rows and columns come out fewer or more."""
    if node.op_type in _RESIZING:
        return True
    if node.op_type == "Slice":
        steps = array_of(node.inputs[4]) if len(node.inputs) > 4 else None
        return steps is not None and bool((abs(steps) > 1).any())
    return max(node.attributes.get_ints("strides", [1]), default=1) > 1


def _levels(flow: Flow, decode: Decode, strides: Mapping[int, int]) -> dict[int, int]:
    """Node → level of the head, the finest being 0; only nodes of the head are in it."""
    found: dict[int, int] = {}
    for level, stride in enumerate(sorted(set(strides.values()))):
        ends = [node for node in decode.predictions if strides.get(node) == stride]
        others = [node for node in decode.predictions if strides.get(node) != stride]
        entry = flow.common_dominator(ends)
        behind = flow.leading_to(ends) & (flow.reached_from([entry]) - {entry} | set(ends))
        found.update(dict.fromkeys(behind - flow.leading_to(others), level))
    return found
