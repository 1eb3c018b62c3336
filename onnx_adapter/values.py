"""What is known of values in a graph."""

import onnx_ir as ir

from detq.graph.stored import array_of


def scalar_of(value: ir.Value | None) -> float | None:
    """The only number of a stored value."""
    array = array_of(value)
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def is_whole(value: ir.Value, axis: int) -> bool:
    """Whether the size along a dimension is known."""
    return (
        value.shape is not None
        and -len(value.shape) <= axis < len(value.shape)
        and isinstance(value.shape[axis], int)
    )


def data_inputs(node: ir.Node) -> list[ir.Value]:
    """The inputs that are computed from the image."""
    return [x for x in node.inputs if x is not None and x.const_value is None]
