"""Codes of Softmax outputs on a logarithmic scale of base √2.

Attention is many small numbers and few large ones, which an even grid serves badly::

    q = clip(round(-2 log2 a), 0, 2^b - 1)          a > 0; the last code for a = 0
    a ≈ 2^(-q / 2)

An integer machine shifts by whole bits: with ``k = ⌈q / 2⌉`` the same number is

    a ≈ 2^-k (1 + (√2 - 1) (q mod 2))

so the codes of base √2 are those of base 2 and one bit that chooses between two scales. Both
forms are written as ONNX operators, and run wherever the graph does.
"""

import math
from typing import Literal

import numpy as np
import onnx_ir as ir

from detq.graph.build import DECODE, STAGE
from detq.graph.stored import store

Form = Literal["log_sqrt2", "log2"]


def code_softmax(model: ir.Model, bits: int, form: Form = "log_sqrt2") -> tuple[str, ...]:
    """Round every Softmax whose output is multiplied with another computed tensor.

    Args:
        model: a graph of one's own; changed.
        bits: of the codes, 2 to 8.
        form: how the numbers are computed from the codes.

    Returns:
        Names of the Softmax nodes.
    """
    graph = model.graph
    found = [node for node in graph if _is_attention(node)]
    for node in found:
        _insert(graph, node, bits, form)
    return tuple(str(node.name) for node in found)


def _is_attention(node: ir.Node) -> bool:
    if node.op_type != "Softmax" or node.metadata_props.get(STAGE) == DECODE:
        return False
    readers = node.outputs[0].consumers()
    return bool(readers) and all(
        reader.op_type == "MatMul" and not any(x and x.const_value for x in reader.inputs)
        for reader in readers
    )


def _insert(graph: ir.Graph, node: ir.Node, bits: int, form: Form) -> None:
    write = _Writer(graph, node)
    last = np.float32(2**bits - 1)
    logarithm = write("Log", node.outputs[0])
    halves = write("Mul", logarithm, np.float32(-2 / math.log(2)))
    codes = write("Clip", write("Round", halves), np.float32(0), last, name="codes")
    if form == "log_sqrt2":
        write("Exp", write("Mul", codes, np.float32(-math.log(2) / 2)), name="rounded")
    else:
        odd = write(
            "Sub", codes, write("Mul", write("Floor", write("Mul", codes, 0.5)), 2.0), name="odd"
        )
        shift = write("Mul", write("Add", codes, odd), -0.5, name="shift")
        scale = write("Add", write("Mul", odd, np.float32(math.sqrt(2) - 1)), 1.0)
        write("Mul", write("Pow", 2.0, shift), scale, name="rounded")
    write.hand_over()


class _Writer:
    """Nodes behind a Softmax, one after another."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self._graph, self._node = graph, node
        self._readers = list(node.outputs[0].uses())
        self._last = node

    def __call__(
        self, operator: str, *inputs: ir.Value | float | np.float32, name: str = ""
    ) -> ir.Value:
        like = self._node.outputs[0]
        full = f"{self._node.name}.{name or f'{operator.lower()}{len(self._graph)}'}"
        values = [
            x
            if isinstance(x, ir.Value)
            else store(self._graph, f"{full}.{i}", np.asarray(x, np.float32))
            for i, x in enumerate(inputs)
        ]
        made = ir.Node(
            "", operator, values,
            outputs=[ir.Value(name=full, shape=like.shape, type=like.type)],
            name=full, metadata_props=dict(self._node.metadata_props),
        )  # fmt: skip
        self._graph.insert_after(self._last, made)
        self._last = made
        return made.outputs[0]

    def hand_over(self) -> None:
        """Let the readers of the Softmax read the last value instead."""
        for node, index in self._readers:
            node.replace_input_with(index, self._last.outputs[0])
