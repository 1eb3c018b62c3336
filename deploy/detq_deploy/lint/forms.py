"""What a consumer's parser takes: opsets, operators, how weights and biases are stored."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from detq.graph.qdq import DQ, Q
from detq.graph.stored import array_of
from detq_deploy.lint.findings import Fault
from detq_deploy.lint.subject import CONVOLUTIONS, Subject, maker, stored

_INTEGER = ("ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul")
_HALF_SCALES_FROM = 19  # opset
_NMS = {"efficient": "EfficientNMS_TRT", "onnx": "NonMaxSuppression"}


def biases(subject: Subject) -> Iterator[Fault]:
    """Biases that are dequantized from integers."""
    for layer in subject.layers:
        bias = layer.node.inputs[2] if len(layer.node.inputs) > 2 else None
        if bias is None:
            continue
        dq = maker(bias)
        if dq is not None and dq.op_type == DQ and stored(bias):
            kept = array_of(dq.inputs[0])
            kind = "integers" if kept is None else str(kept.dtype)
            yield layer.node, f"its bias is {kind} behind {dq.name}"


def integer_operators(subject: Subject) -> Iterator[Fault]:
    """Operators that work on integers themselves, in place of Q/DQ around a float one."""
    for node in subject.graph:
        if is_integer_operator(node):
            yield node, f"is {node.op_type}"


def is_integer_operator(node: ir.Node) -> bool:
    """Whether an operator takes or gives integers where Q/DQ has a float one."""
    return node.op_type in _INTEGER or node.op_type.startswith("QLinear")


def opsets(subject: Subject) -> Iterator[Fault]:
    """A file written in an opset that the parser is not documented to take."""
    opset = subject.model.opset_imports.get("", 0)
    if opset > subject.target.opset_ceiling:
        yield (
            None,
            f"opset {opset}; {subject.target.name} takes up to {subject.target.opset_ceiling}",
        )


def operators(subject: Subject) -> Iterator[Fault]:
    """Operators that the parser does not know."""
    known = subject.target.operators
    for node in subject.graph:
        if node.op_type in _NMS.values() or is_integer_operator(node):
            continue  # these have rules of their own
        foreign = node.domain not in ("", "ai.onnx")
        if known and (foreign or node.op_type not in known):
            domain = f"{node.domain}." if foreign else ""
            yield node, f"{domain}{node.op_type} is not known to the parser"


def suppression(subject: Subject) -> Iterator[Fault]:
    """Non-maximum suppression that the consumer cannot run."""
    unknown = {op for form, op in _NMS.items() if form not in subject.target.nms}
    for node in subject.graph:
        if node.op_type in unknown:
            yield node, f"{node.op_type} does not run on {subject.target.name}"


def stored_integers(subject: Subject) -> Iterator[Fault]:
    """Weights kept as integers for a consumer that wants floats in front of Q and DQ."""
    if subject.target.int8_initializers:
        return
    for layer in subject.layers:
        if layer.weights is not None and layer.weights.q is None:
            yield layer.node, f"its weights are integers, {layer.weights.stored.name}"


def missing_zero_points(subject: Subject) -> Iterator[Fault]:
    """Q and DQ with two inputs for a parser that reads three."""
    if subject.target.int8_initializers:
        return
    for node in subject.nodes(Q, DQ):
        if len(node.inputs) < 3 or node.inputs[2] is None:
            yield node, "has no zero point input"


def scale_types(subject: Subject) -> Iterator[Fault]:
    """float16 scales where the parser or the opset has none."""
    opset = subject.model.opset_imports.get("", 0)
    for node in subject.nodes(Q, DQ):
        scale = array_of(node.inputs[1])
        if scale is None:
            continue
        if opset < _HALF_SCALES_FROM and scale.dtype == np.float16:
            yield node, f"float16 scale in opset {opset}"
        elif str(scale.dtype) not in subject.target.scale_types:
            taken = " and ".join(subject.target.scale_types)
            yield node, f"{scale.dtype} scale; {subject.target.name} reads {taken}"


def float_body(subject: Subject) -> Iterator[Fault]:
    """A float32 body for a consumer that runs every tensor in the type the file gives it."""
    if not subject.target.strongly_typed:
        return
    dequantizers = [layer.weights.dq for layer in subject.layers if layer.weights is not None]
    if dequantizers and all(_is_float32(dq) for dq in dequantizers):
        yield None, f"all {len(dequantizers)} INT8 layers add their biases in float32"


def transposed(subject: Subject) -> Iterator[Fault]:
    """Quantized transposed convolutions where the consumer runs them in float."""
    for layer in subject.layers:
        rounded = layer.integers or layer.weights is not None
        if layer.node.op_type == CONVOLUTIONS[1] and rounded:
            yield layer.node, f"quantized; {subject.target.name} runs it in float"


def _is_float32(dq: ir.Node) -> bool:
    scale = array_of(dq.inputs[1])
    return scale is not None and scale.dtype == np.float32
