"""Linear layers of a transformer as INT8 layers: MatMul and Gemm with stored weights.

The last linear layer in front of an output stays float, as a prediction convolution does.
"""

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

import onnx_ir as ir

from detq.graph.build import DECODE, STAGE
from detq.model import FloatModel
from detq.numerics import Grid
from detq.plan import Layer, Placement, QuantPoint
from detq.target import Target

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def is_linear(node: ir.Node) -> bool:
    """Whether the node multiplies a tensor's last dimension by a stored matrix."""
    if node.op_type not in ("MatMul", "Gemm") or node.metadata_props.get(STAGE) == DECODE:
        return False
    x, weight = node.inputs[0], node.inputs[1]
    if x is None or x.const_value is not None or weight is None or weight.const_value is None:
        return False
    if len(weight.const_value.shape) != 2 or x is weight:
        return False
    given = {name: attribute.value for name, attribute in node.attributes.items()}
    return not given.get("transA") and given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0


def output_axis(node: ir.Node) -> int:
    """Dimension of a linear layer's weights that is its output."""
    transposed = node.attributes.get("transB")
    return 0 if transposed is not None and transposed.value else 1


def linear_inputs(model: FloatModel) -> frozenset[str]:
    """Names of the tensors that linear layers read."""
    return frozenset(str(n.inputs[0].name) for n in _layers(model) if n.inputs[0] is not None)


def place_linear(
    model: FloatModel,
    placement: Placement,
    target: Target,
    float_layers: Mapping[str, str] | None = None,
) -> Placement:
    """A placement with linear layers in it, one point in front of each, one scale per output.

    Args:
        model: the network that ``placement`` was made for.
        placement: of its convolutions.
        target: grids of weights and activations.
        float_layers: pattern of layer names → reason to leave them float.
    """
    points = {point.value: point for point in placement.points}
    layers = list(placement.layers)
    for node in _layers(model):
        name, value = str(node.name), node.inputs[0]
        if value is None:
            raise AssertionError(f"{name} reads nothing")
        reasons = [
            why for pattern, why in (float_layers or {}).items() if fnmatchcase(name, pattern)
        ]
        axis = None if target.per_tensor_weights else output_axis(node)
        reason = f"recipe: {reasons[0]}" if reasons else "weights are constant"
        layers.append(Layer(name, node.op_type, not reasons, reason, target.weights, axis))
        if not reasons:
            read = str(value.name)
            known = points.get(read) or QuantPoint(
                read, (), Grid(target.activation_bits), read, "input of an INT8 linear layer"
            )
            points[read] = replace(known, consumers=(*known.consumers, name))
    return Placement(tuple(points.values()), tuple(layers))


def _layers(model: FloatModel) -> list[ir.Node]:
    graph = model.graph.graph
    last = _last_layers(graph)
    return [node for node in graph if is_linear(node) and node not in last]


def _last_layers(graph: ir.Graph) -> set[ir.Node]:
    """Layers with weights that have no other between them and an output."""
    found: set[ir.Node] = set()
    seen: set[ir.Node] = set()
    waiting = [value.producer() for value in graph.outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        stored = node.inputs[1] if len(node.inputs) > 1 else None
        if node.op_type in _WEIGHTED and stored is not None and stored.const_value is not None:
            found.add(node)
        else:
            waiting += [x.producer() for x in node.inputs if x is not None]
    return found
