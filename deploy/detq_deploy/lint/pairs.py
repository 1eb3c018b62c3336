"""Where a pair of Q and DQ stands: beside what it belongs to, once, on both sides of a layer."""

from collections.abc import Iterator

import onnx_ir as ir

from detq.graph.qdq import DQ, Q
from detq_deploy.lint.findings import Fault
from detq_deploy.lint.subject import (
    ACTIVATIONS,
    SHAPING,
    WEIGHTED,
    Subject,
    label,
    maker,
    readers,
)


def one_sided(subject: Subject) -> Iterator[Fault]:
    """Layers with a rounded input and float weights, or the other way round."""
    for layer in subject.layers:
        if layer.integers and layer.weights is None:
            yield layer.node, "its input is quantized, its weights are not"
        elif layer.weights is not None and not layer.integers:
            yield layer.node, "its weights are quantized, its input is not"


def duplicates(subject: Subject) -> Iterator[Fault]:
    """A tensor with more than one Q."""
    seen: dict[ir.Value, list[ir.Node]] = {}
    for q in subject.activation_quantizers():
        if q.inputs[0] is not None:
            seen.setdefault(q.inputs[0], []).append(q)
    for value, found in seen.items():
        if len(found) > 1:
            yield found[1], f"{value.name} is rounded {len(found)} times"


def before_activations(subject: Subject) -> Iterator[Fault]:
    """A pair between a layer and the activation that it would compute itself."""
    for q, reader in _behind_pairs(subject):
        made = maker(q.inputs[0], "BatchNormalization")
        if made is not None and made.op_type in WEIGHTED and reader.op_type in ACTIVATIONS:
            yield q, f"between {label(made)} and {reader.op_type} {label(reader)}"


def before_padding(subject: Subject) -> Iterator[Fault]:
    """A Pad between a pair and its convolution, or a pair between Pad and convolution."""
    for q, reader in _behind_pairs(subject):
        made = maker(q.inputs[0])
        if reader.op_type == "Pad":
            yield reader, f"pads what {label(q)} rounded"
        elif made is not None and made.op_type == "Pad" and reader.op_type in WEIGHTED:
            yield q, f"between {label(made)} and {label(reader)}"


def around_shapes(subject: Subject) -> Iterator[Fault]:
    """Pairs on Reshape, Transpose, Slice and their like.

    A pair between such an operator and an INT8 layer belongs to the layer.
    """
    for q in subject.activation_quantizers():
        made = maker(q.inputs[0])
        behind = [reader for dq in readers(q.outputs[0]) for reader in readers(dq.outputs[0])]
        shaped = next((node for node in behind if node.op_type in SHAPING), None)
        if shaped is not None:
            yield q, f"in front of {shaped.op_type} {label(shaped)}"
        elif made is not None and made.op_type in SHAPING and not _serves(subject, behind):
            yield q, f"behind {made.op_type} {label(made)}, for no INT8 layer"


def _serves(subject: Subject, nodes: list[ir.Node]) -> bool:
    return not nodes or not subject.int8_nodes.isdisjoint(nodes)


def _behind_pairs(subject: Subject) -> Iterator[tuple[ir.Node, ir.Node]]:
    for q in subject.activation_quantizers():
        for dq in readers(q.outputs[0]):
            if dq.op_type == DQ:
                for reader in readers(dq.outputs[0]):
                    if reader.op_type != Q:
                        yield q, reader
