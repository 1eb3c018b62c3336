"""The INT8 layers of a Q/DQ graph as a learner sees them: by the initializers it may change."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from detq.graph.stored import store
from detq.numerics import Grid
from detq.plan import Layer, Placement
from detq.quantized import SCALE, QuantizedModel


@dataclass(frozen=True, slots=True)
class Part:
    """One convolution, by the names of its initializers.

    Attributes:
        node: its name.
        codes: ``W_int``.
        scale: of ``W_int``.
        bias: float; of a pair only the first part is sure to have one.
        axis: dimension of the weights that has a scale each; None for one scale in all.
        grid: of ``W_int``.
    """

    node: str
    codes: str
    scale: str
    bias: str | None
    axis: int | None
    grid: Grid


@dataclass(frozen=True, slots=True)
class Int8Layer:
    """A convolution, or the convolutions of one rounded tensor whose outputs are added (CFWS).

    Attributes:
        name: of its first node.
        output: value behind it, bias included; dimension 1 is its channels.
        parts: one, or the two of a pair.
    """

    name: str
    output: str
    parts: tuple[Part, ...]

    @property
    def per_channel(self) -> bool:
        """Whether every output channel has a weight scale of its own."""
        return all(part.axis is not None for part in self.parts)


def int8_layers(model: QuantizedModel) -> tuple[Int8Layer, ...]:
    """All INT8 layers, in the order of the graph."""
    graph = model.graph.graph
    layers = {layer.node: layer for layer in model.placement.layers if layer.int8}
    nodes = [node for node in graph if node.name in layers]
    pairs = dict(_pairs(graph, layers))
    seconds = {second for second, _ in pairs.values()}
    found = []
    for node in nodes:
        if node in seconds:
            continue
        second, total = pairs.get(node, (None, node))
        parts = [_part(x, layers[str(x.name)]) for x in (node, second) if x is not None]
        found.append(Int8Layer(str(node.name), str(total.outputs[0].name), tuple(parts)))
    return tuple(found)


def with_own_biases(model: QuantizedModel) -> QuantizedModel:
    """The same function, with a bias in every INT8 layer that no other node reads."""
    copy = replace(model, graph=model.graph.clone())
    graph = copy.graph.graph
    nodes = {str(node.name): node for node in graph}
    for layer in int8_layers(copy):
        node = nodes[layer.parts[0].node]
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if bias is None:
            channels = _channels(node)
            _give_bias(graph, node, np.zeros(channels, np.float32))
        elif len(bias.uses()) > 1:
            if bias.const_value is None:
                raise AssertionError(f"bias of {node.name} is computed")
            _give_bias(graph, node, bias.const_value.numpy())
    return copy


def clip_ends(placement: Placement) -> Mapping[str, tuple[tuple[str, int], ...]]:
    """Scale of every tie group → the ends of the Clips that follow it, each with its integer.

    Grids that are narrower than the type they are stored in have such a Clip.
    """
    return {
        f"{group}.{SCALE}": tuple(
            (f"{point.value}.saturate.{end}", integer)
            for point in members
            if point.grid.bits < 8
            for end, integer in (("lowest", point.grid.lowest), ("highest", point.grid.highest))
        )
        for group, members in placement.groups.items()
    }


def _pairs(
    graph: ir.Graph, layers: Mapping[str, Layer]
) -> Iterator[tuple[ir.Node, tuple[ir.Node, ir.Node]]]:
    """First convolution → the second one and the Add of both."""
    for node in graph:
        sides = [x.producer() for x in node.inputs if x is not None]
        if node.op_type != "Add" or len(sides) != 2:
            continue
        first, second = sides
        if first is None or second is None or first is second:
            continue
        both = (first, second)
        alone = all(len(x.outputs[0].uses()) == 1 and x.name in layers for x in both)
        if alone and first.inputs[0] is second.inputs[0]:
            yield first, (second, node)


def _part(node: ir.Node, layer: Layer) -> Part:
    dequantized = node.inputs[1]
    stored = None if dequantized is None else dequantized.producer()
    if stored is None or stored.op_type != "DequantizeLinear":
        raise AssertionError(f"{node.name} does not read W_int")
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    codes, scale = (str(x.name) for x in stored.inputs[:2] if x is not None)
    name = None if bias is None else str(bias.name)
    return Part(str(node.name), codes, scale, name, layer.axis, layer.weights)


def _channels(node: ir.Node) -> int:
    made = node.outputs[0].shape
    if made is None or not isinstance(made[1], int):
        raise AssertionError(f"channels of {node.name} are not known")
    return made[1]


def _give_bias(
    graph: ir.Graph, node: ir.Node, array: np.ndarray[tuple[int], np.dtype[np.float32]]
) -> None:
    node.resize_inputs(3)
    node.replace_input_with(2, store(graph, f"{node.name}.bias", array))
