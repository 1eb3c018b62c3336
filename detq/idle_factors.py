"""Take out multiplications that were for a rounding which a target does not do.

``detq.equalize`` leaves a factor per channel behind an activation, and its inverse in the
weights of the layers that read it, so that one scale fits all channels. Where a target keeps
those layers float, the tensor is not rounded: the factor goes into their weights instead.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from detq.graph.stored import array_of, drop_unused, store
from detq.model import FloatModel
from detq.placement.points import copies
from detq.plan import Placement

Factors = NDArray[np.float64]


def without_idle_factors(model: FloatModel, placement: Placement) -> FloatModel:
    """The same function with fewer multiplications; INT8 layers keep their weights' bits.

    Args:
        model: float and merged; unchanged.
        placement: made for it.
    """
    copy = model.graph.clone()
    graph = copy.graph
    rounded = {point.value for point in placement.points}
    int8 = {layer.node for layer in placement.layers if layer.int8}
    for node in list(graph):
        factors = _factors(node)
        if factors is None:
            continue
        taken = _taken(node.outputs[0], factors, rounded, int8)
        if taken is None:
            continue
        for layer, of_input in taken:
            _into_weights(graph, layer, of_input)
        data = node.inputs[0]
        if data is None:
            raise AssertionError(f"{node.name} multiplies nothing")
        node.outputs[0].replace_all_uses_with(data)
        graph.remove(node, safe=True)
    drop_unused(graph)
    return FloatModel(copy, model.detector)


def _factors(node: ir.Node) -> Factors | None:
    """Of a multiplication by one positive number per channel [1, C, 1, 1]."""
    if node.op_type != "Mul" or node.outputs[0].is_graph_output():
        return None
    stored = array_of(node.inputs[1])
    per_channel = stored is not None and stored.ndim == 4 and stored.size == stored.shape[1]
    if stored is None or not per_channel or (stored <= 0).any():
        return None
    return stored.astype(np.float64).reshape(-1)


def _taken(
    value: ir.Value, factors: Factors, rounded: Collection[str], int8: Collection[str]
) -> list[tuple[ir.Node, Factors]] | None:
    """Float convolutions that read ``value``, with the factors of their input channels.

    None if anything else reads it, or it is rounded.
    """
    if value.name in rounded or value.is_graph_output():
        return None
    found: list[tuple[ir.Node, Factors]] = []
    for node in value.consumers():
        if node.op_type == "Conv" and _reads_as_data(node, value) and node.name not in int8:
            found.append((node, factors))
            continue
        passed = _passed(node, value, factors) if copies(node) else None
        below = None if passed is None else _taken(node.outputs[0], passed, rounded, int8)
        if below is None:
            return None
        found += below
    return found


def _reads_as_data(node: ir.Node, value: ir.Value) -> bool:
    return (
        node.inputs[0] is value
        and value not in node.inputs[1:]
        and array_of(node.inputs[1]) is not None
    )


def _passed(node: ir.Node, value: ir.Value, factors: Factors) -> Factors | None:
    """The factors behind an operator that copies; other inputs of a Concat have 1."""
    if node.op_type != "Concat":
        return factors
    if node.attributes["axis"].value != 1:
        return None
    parts = []
    for x in node.inputs:
        channels = None if x is None or x.shape is None else x.shape[1]
        if not isinstance(channels, int):
            return None
        parts.append(factors if x is value else np.ones(channels))
    return np.concatenate(parts)


def _into_weights(graph: ir.Graph, node: ir.Node, factors: Factors) -> None:
    stored = node.inputs[1]
    weight: NDArray[Any] | None = array_of(stored)
    if stored is None or weight is None:
        raise AssertionError(f"weights of {node.name} are not stored")
    groups = int(node.attributes["group"].value) if "group" in node.attributes else 1
    per_input = np.repeat(factors.reshape(groups, -1), len(weight) // groups, axis=0)
    scaled = (weight * per_input[:, :, None, None]).astype(weight.dtype)
    if len(stored.uses()) == 1:
        stored.const_value = ir.tensor(scaled, name=stored.name)
    else:  # weights that another layer reads as they are
        node.replace_input_with(1, store(graph, f"{node.name}.weight", scaled))
