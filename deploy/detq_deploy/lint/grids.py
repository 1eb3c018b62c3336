"""Scales and zero points."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from detq.graph.qdq import DQ, Q
from detq.graph.stored import Array, array_of
from detq_deploy.lint.findings import Fault, on_nvidia
from detq_deploy.lint.subject import Subject

SMALLEST_NORMAL = float(np.finfo(np.float16).tiny)  # 6.1e-5


def zero_points(subject: Subject) -> Iterator[Fault]:
    """Integers other than 0 for real zero."""
    for node in subject.nodes(Q, DQ):
        zero = _zero_point(node)
        if zero is not None and zero.dtype != np.uint8 and bool(zero.any()):
            yield node, f"zero point {_shown(zero)}"


def unsigned(subject: Subject) -> Iterator[Fault]:
    """Codes from 0 to 255, whatever their zero point."""
    for node in subject.nodes(Q, DQ):
        zero = _zero_point(node)
        if zero is not None and zero.dtype == np.uint8:
            yield node, f"uint8 with zero point {_shown(zero)}"


def widths(subject: Subject) -> Iterator[Fault]:
    """Integers of other than 8 bits in front of DequantizeLinear, biases apart."""
    for node in subject.nodes(Q, DQ):
        zero = _zero_point(node)
        if zero is not None and zero.dtype not in (np.int8, np.uint8, np.int32):
            yield node, f"integers of type {zero.dtype}"


def computed_scales(subject: Subject) -> Iterator[Fault]:
    """Scales that are not known before the file runs."""
    for node in subject.nodes(Q, DQ):
        if array_of(node.inputs[1]) is None:
            yield node, "its scale is computed, not stored"


def scale_values(subject: Subject) -> Iterator[Fault]:
    """Scales that are not positive numbers."""
    for node in subject.nodes(Q, DQ):
        scale = array_of(node.inputs[1])
        if scale is None:
            continue
        wide = scale.astype(np.float64)
        wrong = ~((wide > 0) & np.isfinite(wide))
        if wrong.any():
            yield node, f"scale {wide[wrong].reshape(-1)[0]:g}{_share(wrong)}"


def half_scales(subject: Subject) -> Iterator[Fault]:
    """float16 scales that lost bits, or will lose them in a float16 body."""
    for node in subject.nodes(Q, DQ):
        scale = array_of(node.inputs[1])
        if scale is None or scale.dtype != np.float16:
            continue
        wide = scale.astype(np.float64)
        small = (wide > 0) & (wide < SMALLEST_NORMAL)
        if small.any():
            yield node, f"float16 scale {wide[small].min():.2e} is below 6.1e-05{_share(small)}"


def axes(subject: Subject) -> Iterator[Fault]:
    """Scales per channel that do not say of which dimension, or do not fit it."""
    for node in subject.nodes(Q, DQ):
        scale, x = array_of(node.inputs[1]), node.inputs[0]
        if scale is None or scale.size == 1 or x is None:
            continue
        if "axis" not in node.attributes and on_nvidia(subject.target):
            yield node, f"{scale.size} scales and no axis"
        elif x.shape is not None:
            axis = node.attributes.get_int("axis", 1)
            sizes = list(x.shape)
            if not -len(sizes) <= axis < len(sizes):
                yield node, f"axis {axis} of a tensor with {len(sizes)} dimensions"
            elif isinstance(sizes[axis], int) and sizes[axis] != scale.size:
                yield node, f"{scale.size} scales for the {sizes[axis]} channels of axis {axis}"
    yield from _wrong_dimension(subject)


def per_channel_activations(subject: Subject) -> Iterator[Fault]:
    """A scale for each channel of what is computed."""
    for node in subject.activation_quantizers():
        scale = array_of(node.inputs[1])
        if scale is not None and scale.size > 1:
            yield node, f"{scale.size} scales for one activation"


def _wrong_dimension(subject: Subject) -> Iterator[Fault]:
    for layer in subject.layers:
        wanted = _output_axis(layer.node, subject)
        if layer.weights is None or wanted is None:
            continue
        dq = layer.weights.dq
        scale, axis = array_of(dq.inputs[1]), dq.attributes.get("axis")
        if scale is not None and scale.size > 1 and axis is not None and axis.as_int() != wanted:
            yield dq, f"scales along axis {axis.as_int()}; {layer.node.op_type} wants {wanted}"


def _output_axis(node: ir.Node, subject: Subject) -> int | None:
    """Dimension of the weights that must have the scales; None where any will do."""
    if node.op_type == "Conv":
        return 0
    if node.op_type != "ConvTranspose" or not on_nvidia(subject.target):
        return None
    version = subject.target.version
    old = subject.target.engine == "tensorrt" and _number(version) < (10, 2)
    return 0 if old else 1


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _zero_point(node: ir.Node) -> Array | None:
    return array_of(node.inputs[2]) if len(node.inputs) > 2 else None


def _shown(zero: Array) -> str:
    values = np.unique(zero)
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _share(wrong: Array) -> str:
    return f" ({int(wrong.sum())} of {wrong.size} channels)" if wrong.size > 1 else ""
