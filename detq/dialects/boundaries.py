"""Where an engine changes between integers and floats, predicted from the graph alone.

An INT8 layer computes its bias, activation and residual sum in its own kernel; operators that
copy rounded tensors work on the integers. At every other change a whole tensor is written in
another type and layout: a kernel of its own, or a slower end of one.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from detq.graph.build import DECODE, STAGE
from detq.graph.qdq import DQ, Q, pair_behind
from detq.placement.points import copies

EPILOGUE = frozenset(
    {"BatchNormalization", "Clip", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Mul"}
    | {"PRelu", "Relu", "Sigmoid", "Tanh"}
)
_TYPES = frozenset({"Cast", "Identity", Q, DQ})


@dataclass(frozen=True, slots=True)
class Boundary:
    """A tensor that is made on one side and read on the other.

    Attributes:
        tensor: its name.
        to_int8: made in float, or an input of the graph, and read as integers; else the
            other way.
        reader: name of the first node that reads it on the other side.
    """

    tensor: str
    to_int8: bool
    reader: str


@dataclass(frozen=True, slots=True)
class Boundaries:
    """What a file asks of an engine beside its layers.

    Attributes:
        crossings: tensors in the order of their readers.
        islands: connected parts of the graph in float, decoding left out.
    """

    crossings: tuple[Boundary, ...]
    islands: int


def boundaries(graph: ir.Graph, int8: Collection[ir.Node]) -> Boundaries:
    """Count where types change.

    Args:
        graph: Q/DQ graph of any exporter.
        int8: layers that the engine computes in integers.
    """
    inside = _inside(graph, int8)
    found: dict[tuple[str, bool], Boundary] = {}
    for node, x in _edges(graph):
        tensor, maker = _origin(x)
        into = node in inside
        if into != (maker in inside) and (maker is not None or into):
            key = (str(tensor.name), into)
            found.setdefault(key, Boundary(*key, str(node.name)))
    return Boundaries(tuple(found.values()), _islands(graph, inside))


def _inside(graph: ir.Graph, int8: Collection[ir.Node]) -> set[ir.Node]:
    """Nodes that an engine computes on integers, or in the kernel that made its input."""
    inside: set[ir.Node] = set()
    for node in graph:  # in order, so that what feeds an epilogue has been seen
        sides = _computed(node)
        direct = [x for x in sides if pair_behind(x) is None]
        if node in int8:
            joined = True
        elif copies(node):
            joined = bool(sides) and not direct
        elif _scales_skip(node, sides):
            joined = True
        elif node.op_type in EPILOGUE or _is_sum(node):
            joined = bool(direct) and all(_origin(x)[1] in inside for x in direct)
            joined = joined and (len(direct) == len(sides) or node.op_type == "Add")
        else:
            joined = False
        if joined and node.op_type not in _TYPES:
            inside.add(node)
    return inside


def _scales_skip(node: ir.Node, sides: list[ir.Value]) -> bool:
    """A rounded tensor times a stored number on its way into a sum, as BottleRep's alpha."""
    return (
        node.op_type == "Mul"
        and len(sides) == 1
        and pair_behind(sides[0]) is not None
        and all(reader.op_type == "Add" for reader in node.outputs[0].consumers())
    )


def _is_sum(node: ir.Node) -> bool:
    return node.op_type in ("Add", "Sub", "Div")


def _islands(graph: ir.Graph, inside: Collection[ir.Node]) -> int:
    """Connected parts of what is computed in float from the images, decoding left out."""
    parts: dict[ir.Node, set[ir.Node]] = {}
    for node in graph:
        if node in inside or node.op_type in _TYPES or node.metadata_props.get(STAGE) == DECODE:
            continue
        if not _computed(node):
            continue
        joined = {node}
        for x in _computed(node):
            maker = _origin(x)[1]
            if maker is not None and maker in parts:
                joined |= parts[maker]
        for member in joined:
            parts[member] = joined
    return len({id(part) for part in parts.values()})


def _edges(graph: ir.Graph) -> Iterator[tuple[ir.Node, ir.Value]]:
    for node in graph:
        if node.op_type not in _TYPES:
            for x in _computed(node):
                yield node, x


def _computed(node: ir.Node) -> list[ir.Value]:
    """Inputs that depend on the images: not stored, not dequantized from what is stored."""
    return [x for x in node.inputs if x is not None and not _is_stored(x)]


def _is_stored(value: ir.Value) -> bool:
    while value.const_value is None:
        maker = value.producer()
        if maker is None or maker.op_type not in _TYPES or maker.inputs[0] is None:
            return False
        value = maker.inputs[0]
    return True


def _origin(value: ir.Value) -> tuple[ir.Value, ir.Node | None]:
    """The tensor in front of pairs and casts, and the node that makes it."""
    maker = value.producer()
    while maker is not None and maker.op_type in _TYPES and maker.inputs[0] is not None:
        value = maker.inputs[0]
        maker = value.producer()
    return value, maker
