"""A Q/DQ file as lint reads it: layers with weights, pairs, and what lies around them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir
from onnx_ir.passes import common as passes

from detq.graph.qdq import DQ, Pair, Q, pair_behind
from detq.graph.stored import array_of
from detq.placement.points import copies
from detq.target import Target

CONVOLUTIONS = ("Conv", "ConvTranspose")
WEIGHTED = (*CONVOLUTIONS, "Gemm", "MatMul")
ACTIVATIONS = (
    "Clip", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Relu", "Sigmoid",
    "Tanh",
)  # fmt: skip
SHAPING = (
    "Flatten", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
_SILENT = ("Cast", "Identity")


@dataclass(frozen=True, slots=True)
class Weights:
    """What a layer's weight input comes out of.

    Attributes:
        stored: the initializer.
        dq: the node that gives the floats.
        q: the node that rounds them; None where integers are stored.
    """

    stored: ir.Value
    dq: ir.Node
    q: ir.Node | None


@dataclass(frozen=True, slots=True)
class Layer:
    """A node with weights.

    Attributes:
        node: a convolution, Gemm, or MatMul with stored weights.
        data: its input.
        pair: Q and DQ in front of that; None where the input is float.
        integers: the input is dequantized by one scale, operators that copy it in between.
        weights: None where they are float.
    """

    node: ir.Node
    data: ir.Value
    pair: Pair | None
    integers: bool
    weights: Weights | None

    @property
    def int8(self) -> bool:
        """Whether an engine can compute it in integers."""
        return self.integers and self.weights is not None


@dataclass(frozen=True)
class Subject:
    """A file, the consumer it is for, and the layers in it.

    Attributes:
        model: from ``subject_from``: constants are initializers, every node has a name.
        target: the consumer.
        layers: in the order of the graph.
        amx: whether this machine's processor has AMX, which OpenVINO's kernels depend on.
    """

    model: ir.Model
    target: Target
    layers: tuple[Layer, ...]
    amx: bool = False

    @property
    def graph(self) -> ir.Graph:
        """The main graph."""
        return self.model.graph

    @cached_property
    def int8_nodes(self) -> frozenset[ir.Node]:
        """The layers that the consumer computes in integers."""
        return frozenset(
            layer.node
            for layer in self.layers
            if layer.int8
            and (layer.node.op_type != "ConvTranspose" or self.target.transposed != "float")
        )

    @cached_property
    def body(self) -> frozenset[ir.Node]:
        """Nodes with a layer behind them or being one; the others decode its results.

        The projection of a distribution (a convolution behind a Softmax) counts as decoding.
        """
        found: set[ir.Node] = set()
        waiting = [layer.node for layer in self.layers if not _projects(layer)]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting += [made for x in node.inputs if x is not None and (made := x.producer())]
        return frozenset(found)

    def nodes(self, *kinds: str) -> Iterator[ir.Node]:
        """Nodes of these operators, in the order of the graph."""
        return (node for node in self.graph if node.op_type in kinds)

    def activation_quantizers(self) -> Iterator[ir.Node]:
        """Q nodes that round what is computed."""
        for node in self.nodes(Q):
            if node.inputs[0] is not None and not stored(node.inputs[0]):
                yield node


def subject_from(model: ir.Model, target: Target, *, amx: bool = False) -> Subject:
    """Read a graph; ``model`` is not changed.

    Args:
        model: any ONNX graph.
        target: consumer that it should suit.
        amx: the processor has AMX.
    """
    copy = model.clone()
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    passes.IdentityEliminationPass()(copy)
    for node in copy.graph:
        node.name = label(node)
    layers = tuple(layer for node in copy.graph if (layer := _layer(node)) is not None)
    return Subject(copy, target, layers, amx)


def label(node: ir.Node) -> str:
    """A node's name; where it has none, that of its output as NVIDIA's parser makes it."""
    return node.name or f"node_of_{node.outputs[0].name}"


def computed(node: ir.Node) -> list[ir.Value]:
    """Inputs that are not stored."""
    return [x for x in node.inputs if x is not None and array_of(x) is None and not stored(x)]


def stored(value: ir.Value) -> bool:
    """Whether a value is made of stored numbers alone: rounded weights, say."""
    node = value.producer()
    if node is None:
        return array_of(value) is not None
    return node.op_type in (Q, DQ, *_SILENT) and all(
        stored(x) for x in node.inputs[:1] if x is not None
    )


def before_casts(value: ir.Value | None) -> ir.Value | None:
    """The value in front of changes of type."""
    while value is not None and (node := value.producer()) is not None:
        if node.op_type not in _SILENT:
            break
        value = node.inputs[0]
    return value


def pair_at(value: ir.Value | None) -> Pair | None:
    """The pair that a value comes out of, casts and saturation to a coarser grid between."""
    value = before_casts(value)
    node = None if value is None else value.producer()
    if node is not None and node.op_type == "Clip":
        value = before_casts(node.inputs[0])
    return pair_behind(value)


def scales_at(value: ir.Value | None) -> tuple[float, ...]:
    """Scales of the DequantizeLinear nodes that a value comes out of, past copying operators.

    Empty if any part of the value is float, or has a scale for each channel: sums over channels
    are then no sums of codes. A computed scale is given as NaN.
    """
    node = maker(value, "Clip")
    if node is None:
        return ()
    if node.op_type == DQ:
        scale = array_of(node.inputs[1])
        if scale is None:
            return (float("nan"),)
        return (float(scale.reshape(-1)[0]),) if scale.size == 1 else ()
    if not (copies(node) or node.op_type in SHAPING):
        return ()
    parts = [scales_at(x) for x in _copied(node)]
    return tuple(dict.fromkeys(scale for part in parts for scale in part)) if all(parts) else ()


def _copied(node: ir.Node) -> list[ir.Value]:
    sides = computed(node)
    return sides if node.op_type == "Concat" else sides[:1]


def readers(value: ir.Value) -> list[ir.Node]:
    """The nodes that read a value, past changes of type."""
    found: list[ir.Node] = []
    for use in value.uses():
        if use.node.op_type in _SILENT:
            found += readers(use.node.outputs[0])
        elif use.node not in found:
            found.append(use.node)
    return found


def maker(value: ir.Value | None, *through: str) -> ir.Node | None:
    """The node a value comes from, past casts and operators of the kinds ``through``."""
    value = before_casts(value)
    node = None if value is None else value.producer()
    while node is not None and node.op_type in through:
        ways = computed(node)
        value = before_casts(ways[0]) if ways else None
        node = None if value is None else value.producer()
    return node


def is_silu(node: ir.Node) -> bool:
    """Whether a Mul multiplies a tensor by its own Sigmoid or HardSigmoid."""
    sides = computed(node)
    if node.op_type != "Mul" or len(sides) != 2:
        return False
    for gate, x in (sides, sides[::-1]):
        made = maker(gate)
        if made is not None and made.op_type in ("Sigmoid", "HardSigmoid"):
            return before_casts(made.inputs[0]) is before_casts(x)
    return False


def _layer(node: ir.Node) -> Layer | None:
    if node.op_type not in WEIGHTED or len(node.inputs) < 2:
        return None
    data, weight = node.inputs[0], node.inputs[1]
    if data is None or weight is None or (node.op_type == "MatMul" and not stored(weight)):
        return None
    return Layer(node, data, pair_at(data), bool(scales_at(data)), _weights(weight))


def _weights(value: ir.Value) -> Weights | None:
    dq = maker(value)
    if dq is None or dq.op_type != DQ or not stored(value):
        return None
    source = before_casts(dq.inputs[0])
    q = None if source is None else source.producer()
    if q is not None and q.op_type == Q:
        source = before_casts(q.inputs[0])
        return None if source is None else Weights(source, dq, q)
    return None if source is None else Weights(source, dq, None)


def _projects(layer: Layer) -> bool:
    made = maker(layer.data, Q, DQ, *SHAPING)
    return made is not None and made.op_type == "Softmax"
