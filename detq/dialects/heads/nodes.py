"""Append nodes to a finished graph."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from detq.graph.stored import store

Dim: TypeAlias = int | ir.SymbolicDim | str | None
Dims: TypeAlias = ir.Shape | Sequence[Dim] | None


class Nodes:
    """Collects nodes of one head; their values are named after it.

    Args:
        graph: initializers are added to it at once, nodes by the caller.
        name: of the head.
    """

    def __init__(self, graph: ir.Graph, name: str) -> None:
        self._graph, self._name = graph, name
        self._count = 0
        self.made: list[ir.Node] = []

    def op(
        self,
        operator: str,
        *inputs: ir.Value,
        dtype: ir.DataType = ir.DataType.FLOAT,
        shape: Dims = None,
        **attributes: Any,
    ) -> ir.Value:
        """One node with one output."""
        return self.many(operator, inputs, [(dtype, shape)], **attributes)[0]

    def many(
        self,
        operator: str,
        inputs: Sequence[ir.Value],
        outputs: Sequence[tuple[ir.DataType, Dims]],
        domain: str = "",
        **attributes: Any,
    ) -> Sequence[ir.Value]:
        """One node with an output of each type and shape."""
        name = f"{self._name}.{self._next(operator.lower())}"
        values = [
            ir.Value(
                name=name if i == 0 else f"{name}.{i}",
                type=ir.TensorType(dtype),
                shape=None if shape is None else ir.Shape(shape),
            )
            for i, (dtype, shape) in enumerate(outputs)
        ]
        given = ir.convenience.convert_attributes(attributes)
        self.made.append(ir.Node(domain, operator, inputs, given, outputs=values, name=name))
        return values

    def number(self, name: str, value: Any, dtype: npt.DTypeLike) -> ir.Value:
        """A stored array."""
        return store(self._graph, f"{self._name}.{self._next(name)}", np.asarray(value, dtype))

    def _next(self, name: str) -> str:
        self._count += 1
        return f"{name}_{self._count}"
