"""Shapes and contents of all values for one batch size, by ONNX's own rules.

A content is known where it does not depend on the pixels: weights, shapes, grids of
anchor points and what is computed from them.
"""

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir

from detq.errors import ModelError
from detq.graph.reference import reference_function
from detq.graph.stored import Array
from onnx_adapter.fitting import fits, fits_before
from onnx_adapter.known import Known, known_from_type, type_of_known

LARGEST_VALUE = 2**31  # numbers in a value of one image
# Numbers read and made while folding, in all: bounds time and memory of a hostile graph.
FOLDING_BUDGET = 2**25
_SMALL = 4096  # numbers of a content that a shape may depend on

# Cheap enough for ONNX's reference evaluator, and without chance.
FOLDED = (
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "ConstantOfShape", "Cos", "CumSum",
    "Div", "Equal", "Exp", "Expand", "Flatten", "Floor", "Gather", "Greater", "GreaterOrEqual",
    "Identity", "Less", "LessOrEqual", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or",
    "Pow", "Range", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "Relu", "Reshape", "Round", "Shape", "Sigmoid", "Sign", "Sin", "Size", "Slice",
    "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where",
    "Xor",
)  # fmt: skip


def follow(graph: ir.Graph, images: ir.Value, batch: int) -> dict[ir.Value, Known]:
    """What is known of every value when ``batch`` images go in.

    Args:
        graph: topologically sorted, every value named; not changed.
        images: its input, with rank and image size.
        batch: number of images.

    Raises:
        ModelError: the shapes of a node's inputs do not fit each other.
    """
    assert images.shape is not None
    shape = (batch, *(n if isinstance(n, int) else None for n in images.shape[1:]))
    known = {images: Known(images.dtype, shape)}
    for value in graph.initializers.values():
        assert value.const_value is not None
        content = value.const_value.numpy()
        known[value] = Known(value.const_value.dtype, content.shape, content)
    follower = _Follower(graph.opset_imports.get("", 0))
    for node in graph:
        inputs = [None if x is None else known.get(x, Known()) for x in node.inputs]
        known.update(zip(node.outputs, follower.outputs(node, inputs), strict=True))
        for value in node.outputs:
            if (known[value].size or 0) > LARGEST_VALUE * batch:
                raise ModelError(
                    f"{node.op_type} makes a value of {known[value].shape}",
                    where=str(node.name),
                    hint="the graph is damaged, or the image size far too large",
                )
    return known


def _filled(x: Known, content: Array) -> Known:
    """The evaluator gives Python's own numbers here and there, the schema knows the type."""
    assert x.dtype is not None
    content = np.asarray(content, x.dtype.numpy())
    return Known(x.dtype, content.shape, content)


class _Follower:
    def __init__(self, opset: int) -> None:
        self._opset = opset
        self._imports = [onnx.helper.make_opsetid("", opset)]
        self._budget = FOLDING_BUDGET

    def outputs(self, node: ir.Node, inputs: Sequence[Known | None]) -> list[Known]:
        if node.domain not in ("", "ai.onnx"):
            return [Known() for _ in node.outputs]
        shaped = self._infer(node, inputs)
        contents = self._contents(node, inputs, shaped)
        if contents is None:
            return shaped
        return [_filled(x, content) for x, content in zip(shaped, contents, strict=True)]

    def _infer(self, node: ir.Node, inputs: Sequence[Known | None]) -> list[Known]:
        if any(x is not None and x.dtype is None for x in inputs):
            return [Known() for _ in node.outputs]
        named = {
            str(value.name): x
            for value, x in zip(node.inputs, inputs, strict=True)
            if value is not None and x is not None
        }
        if not fits_before(node):
            raise _misfit(node)
        try:
            found = onnx.shape_inference.infer_node_outputs(
                onnx.defs.get_schema(node.op_type, self._opset),
                ir.to_proto(node),
                {name: type_of_known(x) for name, x in named.items()},
                {name: _tensor(x.content) for name, x in named.items() if _is_small(x)},
                opset_imports=self._imports,
            )
        except onnx.defs.SchemaError:
            return [Known() for _ in node.outputs]
        except Exception as error:
            raise _misfit(node, str(error)) from error
        outputs = [known_from_type(found.get(str(value.name))) for value in node.outputs]
        if not fits(node, inputs, outputs):
            raise _misfit(node)
        return outputs

    def _contents(
        self, node: ir.Node, inputs: Sequence[Known | None], shaped: Sequence[Known]
    ) -> list[Array] | None:
        """The numbers of all outputs, if every input's are known and there are not too many."""
        if node.op_type not in FOLDED:
            return None
        if node.op_type in ("Shape", "Size"):
            return self._shape_of(node, inputs[0])
        if any(x is not None and x.content is None for x in inputs):
            return None
        if any(x.dtype in (None, ir.DataType.STRING) for x in shaped):
            return None
        sizes = [x.size for x in (*inputs, *shaped) if x is not None]
        cost = sum(n for n in sizes if n is not None)
        if None in sizes or cost > self._budget:
            return None
        self._budget -= cost
        return self._evaluated(node, [None if x is None else x.content for x in inputs])

    def _shape_of(self, node: ir.Node, x: Known | None) -> list[Array] | None:
        if x is None or x.shape is None or x.size is None:
            return None
        if node.op_type == "Size":
            return [np.array(x.size, np.int64)]
        start, end = (node.attributes.get_int(key) for key in ("start", "end"))
        return [np.array(x.shape[start:end], np.int64)]

    def _evaluated(self, node: ir.Node, contents: Sequence[Array | None]) -> list[Array] | None:
        run = reference_function(node, self._opset)
        try:
            found = [] if run is None else [np.asarray(array) for array in run(contents)]
        except Exception:  # what it cannot do is left to the interpreter
            return None
        return found if len(found) == len(node.outputs) else None


def _misfit(node: ir.Node, error: str = "") -> ModelError:
    reason = error.strip().partition("\n")[0][:200]
    return ModelError(
        f"{node.op_type} does not fit its inputs" + (f": {reason}" if reason else ""),
        where=str(node.name),
        hint="the file is damaged, or not made for this image size",
    )


def _is_small(x: Known) -> bool:
    return x.content is not None and x.content.size <= _SMALL


def _tensor(content: Array | None) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.asarray(content))
