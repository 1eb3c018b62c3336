"""Q/DQ in any graph: pairs around tensors, integers behind weights."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from detq.graph.stored import Array, array_of
from detq.numerics import round_to_grid

Q, DQ = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True, slots=True)
class Stored:
    """Rounded weights.

    Attributes:
        name: of the initializer.
        integers: of its own type.
        scale: a number, or [n] along ``axis``.
        zero_point: as ``scale``; None where the file leaves it out.
        axis: dimension with a scale each; None for one scale in all.
        dq: the node that gives the floats.
    """

    name: str
    integers: Array
    scale: Array
    zero_point: Array | None
    axis: int | None
    dq: ir.Node


@dataclass(frozen=True, slots=True)
class Pair:
    """A rounded tensor.

    Attributes:
        tensor: in front of Q.
        q: the rounding node.
        dq: the node behind it.
        scale: value that Q reads.
        zero_point: stored for real zero; 0 where the file leaves it out.
    """

    tensor: ir.Value
    q: ir.Node
    dq: ir.Node
    scale: ir.Value
    zero_point: int


def pair_behind(value: ir.Value | None) -> Pair | None:
    """The Q and DQ that a value comes out of, None if it does not or is stored."""
    dq = _producer(value, DQ)
    q = None if dq is None else _producer(dq.inputs[0], Q)
    if dq is None or q is None:
        return None
    tensor, scale = q.inputs[0], q.inputs[1]
    if tensor is None or scale is None or tensor.const_value is not None:
        return None
    zero = array_of(q.inputs[2]) if len(q.inputs) > 2 else None
    return Pair(tensor, q, dq, scale, 0 if zero is None else int(zero.reshape(-1)[0]))


def stored_behind(value: ir.Value | None) -> Stored | None:
    """The integers that a value is dequantized from, stored as such or in front of a Q."""
    dq = _producer(value, DQ)
    if dq is None:
        return None
    stored, scale = dq.inputs[0], array_of(dq.inputs[1])
    q = _producer(stored, Q)
    source = q.inputs[0] if q is not None else stored
    numbers = array_of(source)
    if source is None or numbers is None or scale is None:
        return None
    zero = array_of(dq.inputs[2]) if len(dq.inputs) > 2 else None
    axis = dq.attributes.get_int("axis", 1) if scale.size > 1 else None
    if q is not None:
        numbers = _rounded(numbers, array_of(q.inputs[1]), zero, axis)
    return Stored(str(source.name), numbers, scale, zero, axis, dq)


def along(axis: int | None, numbers: Array, rank: int) -> Array:
    """Numbers per channel in the shape that goes with a tensor of ``rank`` dimensions."""
    if axis is None:
        return numbers.reshape(())
    shape = [1] * rank
    shape[axis] = -1
    return numbers.reshape(shape)


def _rounded(weights: Array, scale: Array | None, zero: Array | None, axis: int | None) -> Array:
    if scale is None:
        raise AssertionError("scale of stored weights is computed")
    ends = np.iinfo(np.uint8 if zero is None else zero.dtype)
    rounded = round_to_grid(weights, along(axis, scale, weights.ndim).astype(weights.dtype))
    if zero is not None:
        rounded = rounded + along(axis, zero, weights.ndim)
    integers: Array = np.clip(rounded, ends.min, ends.max).astype(ends.dtype)
    return integers


def _producer(value: ir.Value | None, kind: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == kind else None
