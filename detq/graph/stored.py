"""Numbers that lie in the graph."""

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[Any]


def array_of(value: ir.Value | None) -> Array | None:
    """The stored numbers, or None for what is computed or left out."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def store(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """A new initializer; the name gets underscores until it is free."""
    while name in graph.initializers:
        name += "_"
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        const_value=ir.tensor(array, name=name),
    )
    graph.register_initializer(value)
    return value


def drop_unused(graph: ir.Graph) -> None:
    """Take out initializers that nothing reads."""
    outputs = set(graph.outputs)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and value not in outputs:
            del graph.initializers[name]
