"""Which layers become INT8; every layer with weights gets an answer and a reason."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

import onnx_ir as ir

from detq.errors import RecipeError
from detq.graph.build import DECODE, STAGE
from detq.numerics import Grid
from detq.plan import Layer

# Dimension of the weights with a scale each. TensorRT changed its mind on which dimension
# of a transposed convolution that is, so it gets one scale in all.
WEIGHTED: Mapping[str, int | None] = {"Conv": 0, "ConvTranspose": None}
_NO_NUMBERS = ("Shape", "Size")  # read of a tensor, but none of its numbers


def decide_layers(
    graph: ir.Graph, float_layers: Mapping[str, str], weights: Grid, *, per_tensor: bool = False
) -> tuple[Layer, ...]:
    """One ``Layer`` for every node with weights, in the order of the graph.

    Args:
        graph: float and merged.
        float_layers: pattern of node names (``*`` and ``?``) → reason to leave them float.
        weights: grid for the INT8 ones.
        per_tensor: one scale for all weights of a layer, whatever the operator.

    Raises:
        RecipeError: a pattern matches no layer.
    """
    predictions = _prediction_layers(graph)
    nodes = [node for node in graph if node.op_type in WEIGHTED]
    _check_patterns(float_layers, nodes)
    layers = []
    for node in nodes:
        reason = _reason_for_float(node, predictions, float_layers)
        layers.append(
            Layer(
                str(node.name),
                node.op_type,
                reason is None,
                reason or "weights are constant",
                weights,
                None if per_tensor else WEIGHTED[node.op_type],
            )
        )
    return tuple(layers)


def _reason_for_float(
    node: ir.Node, predictions: set[ir.Node], float_layers: Mapping[str, str]
) -> str | None:
    for pattern, reason in float_layers.items():
        if fnmatchcase(str(node.name), pattern):
            return f"recipe: {reason}"
    if node.metadata_props.get(STAGE) == DECODE:
        return "decoding of boxes is float"
    if node in predictions:
        return "its output is boxes and scores, nothing averages its error out"
    weight = node.inputs[1]
    if weight is None or weight.const_value is None:
        return "its weights are computed, not stored"
    return None


def _prediction_layers(graph: ir.Graph) -> set[ir.Node]:
    """Weighted nodes with no other between them and the output, decoding left out."""
    found: set[ir.Node] = set()
    seen: set[ir.Node] = set()
    waiting = [value.producer() for value in graph.outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen or node.op_type in _NO_NUMBERS:
            continue
        seen.add(node)
        if node.op_type in WEIGHTED and node.metadata_props.get(STAGE) != DECODE:
            found.add(node)
            continue
        waiting += [x.producer() for x in node.inputs if x is not None]
    return found


def _check_patterns(patterns: Mapping[str, str], nodes: list[ir.Node]) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(str(node.name), pattern) for node in nodes):
            some = ", ".join(str(node.name) for node in nodes[:2] + nodes[-2:])
            raise RecipeError(
                f"pattern {pattern!r} matches no layer",
                where="$.float_layers",
                hint=f"layers are called like {some}; detq inspect lists them",
            )
