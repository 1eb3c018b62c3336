"""What a layer costs: multiplications for one image."""

import math

import onnx_ir as ir


def macs_of(node: ir.Node) -> int | None:
    """Of a convolution; every input of a transposed one meets all taps.

    Args:
        node: with constant weights as its second input.

    Returns:
        None where a shape is not known.
    """
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    counted = node.outputs[0] if node.op_type == "Conv" else node.inputs[0]
    if weight is None or weight.shape is None or counted is None or counted.shape is None:
        return None
    sizes = [n for n in (*weight.shape[1:], *counted.shape[1:]) if isinstance(n, int)]
    known = len(sizes) == len(weight.shape) + len(counted.shape) - 2
    return math.prod(sizes) if known else None
