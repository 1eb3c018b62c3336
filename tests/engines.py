"""The same graph in the interpreter and in ONNX Runtime without its optimizations."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from numpy.typing import NDArray

from detq.graph.execute import compile_slice, execute, parameters

Array = NDArray[Any]


def in_onnxruntime(model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def in_interpreter(model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    program = compile_slice(model.graph, list(feeds))
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in feeds.items()}
    with torch.inference_mode():
        found = execute(program, tensors, parameters(program))
    return {name: tensor.numpy() for name, tensor in found.items()}


def one_node(operator: str, inputs: Mapping[str, Array | None], **attributes: Any) -> ir.Model:
    """A model of one operator, all of whose inputs are fed; None leaves one out."""
    values = [None if array is None else _input(name, array) for name, array in inputs.items()]
    zero = inputs.get("zero") if operator == "QuantizeLinear" else None
    kind = np.dtype(np.float32) if zero is None else zero.dtype
    output = ir.Value(name="y", type=ir.TensorType(ir.DataType.from_numpy(kind)))
    given = {key: value for key, value in attributes.items() if value is not None}
    node = ir.Node(
        "", operator, values, ir.convenience.convert_attributes(given), outputs=[output], name="n"
    )
    fed = [value for value in values if value is not None]
    graph = ir.Graph(fed, [output], nodes=[node], opset_imports={"": 17}, name=operator)
    return ir.Model(graph, ir_version=8)


def _input(name: str, array: Array) -> ir.Value:
    kind = ir.TensorType(ir.DataType.from_numpy(array.dtype))
    return ir.Value(name=name, shape=ir.Shape(array.shape), type=kind)


def assert_within_range(got: Array, wanted: Array, tolerance: float, name: str = "") -> None:
    """The largest difference as a share of the range of ``wanted``."""
    assert got.shape == wanted.shape, name
    extent = float(wanted.max() - wanted.min()) or 1.0
    difference = float(np.abs(got.astype(np.float64) - wanted.astype(np.float64)).max())
    assert difference <= tolerance * extent, f"{name}: {difference:.3g} of {extent:.3g}"
