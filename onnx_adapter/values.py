"""Reading and storing numbers in a graph."""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[Any]


def constant_of(value: ir.Value | None) -> Array | None:
    """The stored numbers, or None for what is computed or left out."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def scalar_of(value: ir.Value | None) -> float | None:
    """The only number of a stored value."""
    array = constant_of(value)
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


def store(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """A new initializer; the name gets underscores until it is free."""
    while name in graph.initializers:
        name += "_"
    tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)
    value = ir.Value(
        name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value
