"""The float graph and a calibration cache: the one way to INT8 on DLA before TensorRT 10.8."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from detq.graph.qdq import DQ, Pair, Q, along, pair_behind, stored_behind
from detq.graph.stored import array_of, drop_unused, store
from detq.placement.points import copies

# What passes a scale on besides what copies numbers, as NVIDIA's Q/DQ translator does it.
_PASSED_ON = frozenset({"Identity", "Relu", "Reshape", "Transpose"})


@dataclass(frozen=True, slots=True)
class Stripped:
    """A graph without Q/DQ.

    Attributes:
        graph: float; its weights are ``W_int * scale``.
        scales: tensor → width of a step, in the order of the graph.
        bounded: tensors of them whose scale is an upper bound: the main side of a residual sum.
        float_tensors: computed tensors without a scale, which are not rounded.
    """

    graph: ir.Model
    scales: Mapping[str, float]
    bounded: tuple[str, ...]
    float_tensors: tuple[str, ...]


def strip(model: ir.Model) -> Stripped:
    """Take Q/DQ out of a quantized graph.

    What a cache cannot say is lost: a scale for each channel of the weights, learned rounding,
    and which layers stay float. TensorRT rounds the weights again and chooses by itself.

    Args:
        model: Q/DQ graph with float32 body and zero points of 0; unchanged.
    """
    copy = model.clone()
    graph = copy.graph
    scales: dict[str, float] = {}
    for node in [node for node in graph if node.op_type == DQ]:
        pair, stored = pair_behind(node.outputs[0]), stored_behind(node.outputs[0])
        if pair is not None:
            scales[str(pair.tensor.name)] = _scale(pair)
            _replace(node.outputs[0], pair.tensor)
        elif stored is not None:
            steps = along(stored.axis, stored.scale, stored.integers.ndim)
            floats = stored.integers.astype(np.float32) * steps.astype(np.float32)
            source = node.inputs[0]
            assert source is not None
            source.name = f"{stored.name}.integers"  # leaves its name to the floats
            _replace(node.outputs[0], store(graph, stored.name, floats))
    for kind in (DQ, Q):
        for node in [node for node in graph if node.op_type == kind]:
            if not node.outputs[0].uses():
                graph.remove(node, safe=True)
    drop_unused(graph)
    bounded = _spread(graph, scales)
    order = [str(x.name) for x in (*graph.inputs, *(y for node in graph for y in node.outputs))]
    return Stripped(
        copy,
        {name: scales[name] for name in order if name in scales},
        tuple(bounded),
        tuple(name for name in order if name not in scales),
    )


def _scale(pair: Pair) -> float:
    numbers = array_of(pair.scale)
    if numbers is None:
        raise AssertionError(f"scale of {pair.tensor.name} is computed")
    return float(numbers.reshape(-1)[0])


def _replace(old: ir.Value, new: ir.Value) -> None:
    for node, index in list(old.uses()):
        node.replace_input_with(index, new)


def _spread(graph: ir.Graph, scales: dict[str, float]) -> list[str]:
    """Give a scale to what is computed from, or copied to, tensors that have one."""
    bounded: list[str] = []
    before = -1
    while before != len(scales):
        before = len(scales)
        for node in graph:
            if copies(node) or node.op_type in _PASSED_ON:
                _pass_on(node, scales)
            elif node.op_type == "Mul":
                _multiply(node, scales)
            elif node.op_type == "Add":
                bounded += _bound(node, scales)
    return bounded


def _pass_on(node: ir.Node, scales: dict[str, float]) -> None:
    made = str(node.outputs[0].name)
    read = [str(x.name) for x in _computed(node)]
    if made in scales:
        for name in read:
            scales.setdefault(name, scales[made])
    elif read and all(name in scales for name in read):
        scales[made] = max(scales[name] for name in read)


def _multiply(node: ir.Node, scales: dict[str, float]) -> None:
    """By one stored number, as BottleRep's alpha."""
    factors = [x for x in map(array_of, node.inputs) if x is not None]
    read = [str(x.name) for x in node.inputs if x is not None and x.const_value is None]
    if len(factors) == len(read) == 1 and factors[0].size == 1 and read[0] in scales:
        factor = abs(float(factors[0].reshape(())))
        if factor:
            scales.setdefault(str(node.outputs[0].name), scales[read[0]] * factor)


def _bound(node: ir.Node, scales: dict[str, float]) -> list[str]:
    """No more than sum and skip together can be on the side that has no scale."""
    made = str(node.outputs[0].name)
    read = [str(x.name) for x in _computed(node)]
    missing = [name for name in read if name not in scales]
    if made not in scales or len(read) != 2 or len(missing) != 1:
        return []
    scales[missing[0]] = scales[made] + sum(scales[name] for name in read if name in scales)
    return missing


def _computed(node: ir.Node) -> list[ir.Value]:
    inputs = node.inputs if node.op_type in ("Add", "Concat") else node.inputs[:1]
    return [x for x in inputs if x is not None and x.const_value is None]
