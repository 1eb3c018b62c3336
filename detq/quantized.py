"""The Q/DQ graph: it is the quantized model, its initializers are the parameters."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from detq.detection import Detector
from detq.graph.qdq import pair_behind, stored_behind
from detq.graph.slices import values_by_name
from detq.graph.stored import array_of, store
from detq.model import FloatModel
from detq.numerics import Grid, scale_from_range
from detq.numerics import quantize as round_and_clip
from detq.plan import Layer, Placement, QuantPoint
from detq.ranges.weights import WeightRange, largest_weights, scale_for
from detq.stats import Range

SCALE, ZERO_POINT = "scale", "zero_point"
WHY = "detq.why"  # on a layer: why it is INT8, or not


@dataclass(frozen=True)
class QuantizedModel:
    """A Q/DQ graph and the placement it was made by.

    Attributes:
        graph: ``W_int`` as int8 initializers behind DequantizeLinear; nobody changes it.
        placement: points and layers.
        detector: what goes in and comes out.
    """

    graph: ir.Model
    placement: Placement
    detector: Detector


def quantize(
    model: FloatModel,
    placement: Placement,
    ranges: Mapping[str, Range],
    weight_range: WeightRange = largest_weights,
) -> QuantizedModel:
    """Round the weights, put Q/DQ at every point.

    Args:
        model: the float network that ``placement`` was made for.
        placement: from ``place``.
        ranges: tie group name → range of its tensors.
        weight_range: how the range of weights follows from them.
    """
    copy = model.graph.clone()
    graph = copy.graph
    values = values_by_name(graph)
    nodes = {str(node.name): node for node in graph}
    for group, members in placement.groups.items():
        scale = _activation_scale(graph, group, ranges[group], members[0].grid)
        for point in members:
            _insert_pair(graph, point, values[point.value], nodes, scale)
    for layer in placement.layers:
        nodes[layer.node].metadata_props[WHY] = layer.reason
        if layer.int8:
            _round_weights(graph, nodes[layer.node], layer, weight_range)
    return QuantizedModel(copy, placement, model.detector)


def weights_of(model: ir.Model) -> Iterator[tuple[str, NDArray[np.int8], NDArray[np.float32]]]:
    """Every ``W_int`` with its scale, by the name of the weights, from any Q/DQ graph.

    Weights in front of a QuantizeLinear are rounded here as it would do it.
    """
    seen = set()
    for node in model.graph:
        stored = stored_behind(node.outputs[0])
        if stored is not None and stored.name not in seen:
            seen.add(stored.name)
            yield stored.name, stored.integers, stored.scale


def scales_of(model: ir.Model) -> dict[str, NDArray[np.float32]]:
    """Every activation scale, by the name of the rounded tensor."""
    found = {}
    for node in model.graph:
        pair = pair_behind(node.outputs[0])
        scale = None if pair is None else array_of(pair.scale)
        if pair is not None and scale is not None:
            found[str(pair.tensor.name)] = scale
    return found


def _activation_scale(
    graph: ir.Graph, group: str, found: Range, grid: Grid
) -> tuple[ir.Value, ir.Value]:
    """Scale and zero point that all members of a tie group read."""
    largest = found.highest if not grid.signed else max(found.highest, -found.lowest)
    scale = scale_from_range(np.asarray(largest, np.float64), grid)
    return (
        store(graph, f"{group}.{SCALE}", scale),
        store(graph, f"{group}.{ZERO_POINT}", np.full((), grid.zero_point, grid.dtype)),
    )


def _insert_pair(
    graph: ir.Graph,
    point: QuantPoint,
    value: ir.Value,
    nodes: Mapping[str, ir.Node],
    scale: tuple[ir.Value, ir.Value],
) -> None:
    integer = ir.DataType.from_numpy(point.grid.dtype)
    q = _node("QuantizeLinear", f"{point.value}.quantize", value, scale, integer)
    dq = _node("DequantizeLinear", f"{point.value}.dequantize", q.outputs[0], scale)
    producer = value.producer()
    pair = [q, dq] if point.grid.bits == 8 else [q, dq, _saturate(graph, point, dq, scale[0])]
    if producer is None:
        graph.insert_before(graph[0], pair)
    else:
        graph.insert_after(producer, pair)
    for name in point.consumers:
        reader = nodes[name]
        for index, x in enumerate(reader.inputs):
            if x is value:
                reader.replace_input_with(index, pair[-1].outputs[0])


def _saturate(graph: ir.Graph, point: QuantPoint, dq: ir.Node, scale: ir.Value) -> ir.Node:
    """Clip to the integers of a grid that is narrower than the type they are stored in."""
    if scale.const_value is None:
        raise AssertionError(f"scale of {point.value} is computed")
    step = scale.const_value.numpy()
    name = f"{point.value}.saturate"
    ends = (("lowest", point.grid.lowest), ("highest", point.grid.highest))
    low, high = (
        store(graph, f"{name}.{end}", np.asarray(step * np.float32(integer)))
        for end, integer in ends
    )
    return _node("Clip", name, dq.outputs[0], (low, high))


def _round_weights(graph: ir.Graph, node: ir.Node, layer: Layer, weight_range: WeightRange) -> None:
    stored = node.inputs[1]
    if stored is None or stored.const_value is None:
        raise AssertionError(f"weights of {node.name} are not stored")
    weights = stored.const_value.numpy()
    # float32 scales and float32 weights: what a consumer with Q on float weights computes too.
    scale = scale_from_range(weight_range(weights, layer.axis, layer.weights), layer.weights)
    wide = scale_for(weights, scale, layer.axis)
    integers = round_and_clip(weights, wide, layer.weights).astype(np.int8)
    name = str(stored.name)
    if len(stored.uses()) == 1:
        del graph.initializers[name]
        stored.name = f"{name}.float"
    else:
        name = f"{node.name}.weight_int8"  # weights that another layer reads as float
    quantized = store(graph, name, integers)
    parts = (
        store(graph, f"{name}.{SCALE}", scale),
        store(graph, f"{name}.{ZERO_POINT}", np.zeros(scale.shape, np.int8)),
    )
    dq = _node("DequantizeLinear", f"{name}.dequantize", quantized, parts, axis=layer.axis)
    graph.insert_before(node, dq)
    node.replace_input_with(1, dq.outputs[0])


def _node(
    operator: str,
    name: str,
    x: ir.Value,
    parts: tuple[ir.Value, ir.Value],
    dtype: ir.DataType = ir.DataType.FLOAT,
    axis: int | None = None,
) -> ir.Node:
    output = ir.Value(name=name, shape=x.shape, type=ir.TensorType(dtype))
    attributes = {} if axis is None else {"axis": axis}
    return ir.Node(
        "",
        operator,
        [x, *parts],
        ir.convenience.convert_attributes(attributes),
        outputs=[output],
        name=name,
    )
