"""Where integers turn into floats and back."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from detq.graph.qdq import DQ, Q
from detq.placement.points import COPYING, copies
from detq_deploy.lint.findings import Fault
from detq_deploy.lint.subject import (
    ACTIVATIONS,
    Layer,
    Subject,
    computed,
    is_silu,
    label,
    pair_at,
    readers,
    scales_at,
)

_EPILOGUE = (*ACTIVATIONS, "BatchNormalization")
_TYPES = ("Cast", "Identity", Q, DQ)


@dataclass(frozen=True, slots=True)
class Boundary:
    """A tensor that is made on one side and read on the other.

    Attributes:
        tensor: its name.
        to_int8: made in float and rounded for an INT8 layer; else the other way.
        reader: name of a node that reads it on the other side.
    """

    tensor: str
    to_int8: bool
    reader: str


def boundaries(subject: Subject) -> tuple[Boundary, ...]:
    """Every tensor that crosses between INT8 layers, with their epilogues, and float nodes.

    At each an engine has to change type and layout of a whole tensor, in a kernel of its own or
    in that of a float layer. An INT8 layer's bias, activation and residual sum are its epilogue;
    operators that copy rounded tensors belong to the INT8 side.
    """
    inside = _int8_side(subject)
    found: dict[tuple[str, bool], Boundary] = {}
    for node in subject.graph:
        if node.op_type in _TYPES:
            continue
        for x in computed(node):
            tensor, made = _origin(x)
            crosses = (made in inside) != (node in inside)
            if crosses and (made is not None or node in inside):
                key = (str(tensor.name), node in inside)
                found.setdefault(key, Boundary(*key, label(node)))
    return tuple(found.values())


def float_islands(subject: Subject) -> Iterator[Fault]:
    """Float layers that only INT8 layers surround."""
    layers = {layer.node: layer for layer in subject.layers}
    behind = _readers_of_layers(subject, layers)
    for node, layer in layers.items():
        if layer.int8 or node not in subject.body or _stays_float(layer, subject):
            continue
        before = _layers_before(layer.data, layers)
        after = behind[node]
        around = before | after
        if before and after and all(layers[other].int8 for other in around):
            some = ", ".join(sorted(label(other) for other in around)[:2])
            yield node, f"{node.op_type} in float between INT8 layers, {some}"


def _stays_float(layer: Layer, subject: Subject) -> bool:
    return layer.node.op_type == "ConvTranspose" and subject.target.transposed == "float"


def _int8_side(subject: Subject) -> set[ir.Node]:
    inside: set[ir.Node] = set()
    for node in subject.graph:  # in order: what feeds an epilogue has been seen
        if node.op_type in _TYPES:
            continue
        sides = computed(node)
        if node.op_type in (*COPYING, "Resize"):
            joined = copies(node) and (bool(scales_at(node.outputs[0])) or _is_rounded(node))
        elif node.op_type == "Add" and len(sides) > 1:
            direct = [side for side in sides if pair_at(side) is None]
            joined = bool(direct) and all(_origin(side)[1] in inside for side in direct)
        elif node.op_type in _EPILOGUE or is_silu(node) or _is_pointwise(node, sides):
            joined = all(_origin(side)[1] in inside for side in sides[:1])
            joined = joined and pair_at(sides[0]) is None
        else:
            joined = node in subject.int8_nodes
        if joined:
            inside.add(node)
    return inside


def _is_rounded(node: ir.Node) -> bool:
    """Whether all that read a copy round it: engines move the Q in front of the copy."""
    behind = readers(node.outputs[0])
    return bool(behind) and all(reader.op_type == Q for reader in behind)


def _is_pointwise(node: ir.Node, sides: list[ir.Value]) -> bool:
    """Arithmetic with stored numbers: a channel's scale or offset."""
    return node.op_type in ("Add", "Div", "Mul", "Sub") and len(sides) == 1


def _origin(value: ir.Value) -> tuple[ir.Value, ir.Node | None]:
    """The tensor in front of pairs and casts, and the node that makes it."""
    node = value.producer()
    while node is not None and node.op_type in _TYPES and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value, node


def _layers_before(value: ir.Value, layers: dict[ir.Node, Layer]) -> set[ir.Node]:
    found: set[ir.Node] = set()
    seen: set[ir.Node] = set()
    waiting = [value.producer()]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in layers:
            found.add(node)
        else:
            waiting += [x.producer() for x in computed(node)]
    return found


def _readers_of_layers(
    subject: Subject, layers: dict[ir.Node, Layer]
) -> dict[ir.Node, set[ir.Node]]:
    found: dict[ir.Node, set[ir.Node]] = {node: set() for node in layers}
    for node, layer in layers.items():
        for other in _layers_before(layer.data, layers):
            found[other].add(node)
    return found
