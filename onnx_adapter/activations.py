"""Activations that exporters write in parts, as the one operator they are.

::

    clip(x + 3, 0, 6) / 6      HardSigmoid(x), alpha 1/6, beta 1/2
    x * HardSigmoid(x)         HardSwish(x)
    x * clip(x + 3, 0, 6) / 6  the same
"""

import math

import onnx_ir as ir

from detq.graph.build import OPSET
from onnx_adapter.values import data_inputs, scalar_of


def whole_activations(model: ir.Model) -> None:
    """Put HardSigmoid and HardSwish in the place of their parts.

    Args:
        model: of an opset that has both; changed. The parts stay, unread.
    """
    if model.opset_imports[""] < OPSET:
        return
    for node in list(model.graph):
        x = _of_hard_sigmoid(node)
        if x is not None:
            attributes = [ir.AttrFloat32("alpha", 1 / 6), ir.AttrFloat32("beta", 0.5)]
            _replace(node, "HardSigmoid", x, attributes)
            continue
        x = _of_hard_swish(node)
        if x is not None:
            _replace(node, "HardSwish", x, [])


def _replace(node: ir.Node, operator: str, x: ir.Value, attributes: list[ir.Attr]) -> None:
    """Make ``node`` another operator; its name, output and marks stay."""
    node.op_type = operator
    node.attributes.clear()
    node.attributes.update((attribute.name, attribute) for attribute in attributes)
    node.resize_inputs(1)
    node.replace_input_with(0, x)


def _of_hard_sigmoid(node: ir.Node) -> ir.Value | None:
    """``x`` if the node is ``clip(x + 3, 0, 6) / 6``."""
    inside = _share(node, 6)
    return None if inside is None else _of_clip(inside.producer())


def _of_hard_swish(node: ir.Node) -> ir.Value | None:
    """``x`` if the node is ``x * HardSigmoid(x)``, or ``(x * clip(x + 3, 0, 6)) / 6``."""
    product = node if node.op_type == "Mul" and len(data_inputs(node)) == 2 else None
    divided = None if product is not None else _share(node, 6)
    if divided is not None:
        product = divided.producer()
    if product is None or product.op_type != "Mul" or len(data_inputs(product)) != 2:
        return None
    for x, other in (product.inputs, tuple(reversed(product.inputs))):
        gate = None if other is None else other.producer()
        inner = _of_clip(gate) if divided is not None else _of_gate(gate)
        if inner is not None and inner is x:
            return x
    return None


def _of_gate(node: ir.Node | None) -> ir.Value | None:
    if node is None or node.op_type != "HardSigmoid":
        return None
    alpha = node.attributes.get_float("alpha", 0.2)
    beta = node.attributes.get_float("beta", 0.5)
    return node.inputs[0] if _near(alpha, 1 / 6) and _near(beta, 0.5) else None


def _of_clip(node: ir.Node | None) -> ir.Value | None:
    """``x`` if the node is ``clip(x + 3, 0, 6)``."""
    if node is None or node.op_type != "Clip" or len(node.inputs) != 3 or node.inputs[0] is None:
        return None
    if scalar_of(node.inputs[1]) != 0 or scalar_of(node.inputs[2]) != 6:
        return None
    return _one_side(node.inputs[0].producer(), "Add", 3)


def _share(node: ir.Node, count: float) -> ir.Value | None:
    """``x`` if the node is ``x / count``, or ``x * (1 / count)``."""
    if node.op_type == "Div" and scalar_of(node.inputs[1]) == count:
        return node.inputs[0]
    return _one_side(node, "Mul", 1 / count)


def _one_side(node: ir.Node | None, operator: str, number: float) -> ir.Value | None:
    """The other side of a sum or product with a stored number."""
    if node is None or node.op_type != operator:
        return None
    for x, other in (node.inputs, tuple(reversed(node.inputs))):
        if _near(scalar_of(other), number) and x is not None and x.const_value is None:
            return x
    return None


def _near(a: float | None, b: float) -> bool:
    return a is not None and math.isclose(a, b, rel_tol=1e-6)
