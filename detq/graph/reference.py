"""Operators without a function in the table, run by ONNX's own reference in NumPy.

Slow, float, and without gradients: enough for an odd node in the decoding of a detector
that somebody else exported.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

Arrays = Sequence[np.ndarray[Any, Any] | None]

# What comes out is not the same twice.
_CHANCE = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
           "RandomUniformLike")  # fmt: skip
_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def reference_function(node: ir.Node, opset: int) -> Callable[[Arrays], list[Any]] | None:
    """A function from the inputs of a node to its outputs, or None where ONNX has none.

    Args:
        node: of the default domain; its attributes are read now.
        opset: of its graph.
    """
    if node.domain not in ("", "ai.onnx") or node.op_type in _CHANCE:
        return None
    if any(attribute.type in _GRAPHS for attribute in node.attributes.values()):
        return None
    names = [f"x{i}" if x is not None else "" for i, x in enumerate(node.inputs)]
    try:
        evaluator = ReferenceEvaluator(_model(node, names, opset))
    except Exception:  # no such operator, or not in this opset
        return None

    def run(inputs: Arrays) -> list[Any]:
        feeds = {name: x for name, x in zip(names, inputs, strict=True) if name}
        with np.errstate(all="ignore"):
            found: list[Any] = evaluator.run(None, feeds)  # type: ignore[assignment]
        return found

    return run


def _model(node: ir.Node, names: Sequence[str], opset: int) -> onnx.ModelProto:
    proto = ir.to_proto(node)
    outputs = [f"y{i}" for i in range(len(node.outputs))]
    del proto.input[:], proto.output[:]
    proto.input.extend(names)
    proto.output.extend(outputs)
    empty = onnx.helper.make_empty_tensor_value_info
    graph = onnx.helper.make_graph(
        [proto], "node", [empty(name) for name in names if name], [empty(y) for y in outputs]
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
