"""What the kernels of CPU engines need to run in integers, and to be right."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from detq.graph.qdq import Q, stored_behind
from detq.graph.stored import array_of
from detq_deploy.lint.findings import Fault
from detq_deploy.lint.subject import (
    SHAPING,
    Layer,
    Subject,
    computed,
    label,
    maker,
    pair_at,
    readers,
)

_DROPPED = ("Relu", "Clip")  # by ONNX Runtime, before an unsigned Q with zero point 0


def unfused(subject: Subject) -> Iterator[Fault]:
    """Layers whose output does not go into a Q in a way that ONNX Runtime fuses."""
    if subject.target.engine != "onnxruntime":
        return
    for layer in subject.layers:
        if layer.node not in subject.int8_nodes or layer.node.op_type != "Conv":
            continue
        behind = readers(layer.node.outputs[0])
        activation = behind[0] if len(behind) == 1 and behind[0].op_type in _DROPPED else None
        if activation is not None:
            behind = readers(activation.outputs[0])
        quantizers = [node for node in behind if node.op_type == Q]
        if not quantizers or len(quantizers) < len(behind):
            yield layer.node, "its output is not rounded"
        elif activation is not None and not _starts_at_zero(quantizers[0]):
            yield layer.node, f"behind its {activation.op_type} the codes do not start at 0"


def signed_concat(subject: Subject) -> Iterator[Fault]:
    """Int8 codes that dense convolutions read out of a Concat, in OpenVINO without AMX.

    OpenVINO moves Q in front of a Concat, and DQ behind it and operators that copy: the
    convolution reads joined codes unless a pair stands between such an operator and itself.
    """
    if subject.target.engine != "openvino" or subject.amx:
        return
    for layer in subject.layers:
        if layer.node in subject.int8_nodes and layer.node.attributes.get_int("group", 1) == 1:
            node = maker(layer.data, "MaxPool", "Resize", *SHAPING)
            pair = pair_at(node.outputs[0]) if node is not None else None
            if pair is not None:  # it decides; what the sides are stored as does not matter
                node = maker(pair.tensor)
            if node is None or node.op_type != "Concat":
                continue
            pairs = [pair] if pair is not None else [pair_at(side) for side in computed(node)]
            if any(one is not None and not _is_unsigned(one.q) for one in pairs):
                yield node, f"joins int8 codes in front of {label(layer.node)}"


def wide_weights(subject: Subject) -> Iterator[Fault]:
    """Weights whose products overflow on this machine."""
    if not subject.target.saturating:
        return
    most = subject.target.weights.highest
    for layer in subject.layers:
        if layer.int8 and (largest := _largest(layer)) > most:
            yield layer.node, f"weights up to {largest}; products overflow above {most}"


def _largest(layer: Layer) -> int:
    parts = None if layer.weights is None else (layer.weights.dq, layer.weights.q)
    if parts is None or any(n is not None and array_of(n.inputs[1]) is None for n in parts):
        return 0
    found = stored_behind(parts[0].outputs[0]) if parts[0] is not None else None
    if found is None:
        return 0
    centre = 0 if found.zero_point is None else found.zero_point.astype(np.int64).reshape(-1)[0]
    return int(np.abs(found.integers.astype(np.int64) - centre).max())


def _is_unsigned(q: ir.Node) -> bool:
    zero = array_of(q.inputs[2]) if len(q.inputs) > 2 else None
    return zero is None or zero.dtype == np.uint8  # uint8 is what ONNX takes where none is given


def _starts_at_zero(q: ir.Node) -> bool:
    zero = array_of(q.inputs[2]) if len(q.inputs) > 2 else None
    return zero is None or (zero.dtype == np.uint8 and not zero.any())
