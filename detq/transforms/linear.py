"""Parallel and serial linear nodes as one convolution, in float64.

A chain of convolution, normalization, per-channel scale, average pool and sums of such
chains is linear in its source ``x``. With ``t = gain / sqrt(variance + eps)``::

    BN(W * x + b)       = (t W) * x + t (b - mean) + shift
    BN(x)               = (t I) * x - t mean + shift         I: 1 at [o, o mod (in / groups)]
    average pool k x k  = (I / k^2 in every tap) * x         zeros of the padding counted
    A * x + B * x       = (A + B) * x                        taps aligned by their offset

so the whole is one kernel and one bias, exactly but for rounding.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class LinearForm:
    """What a value is as a convolution of an earlier one.

    Attributes:
        source: the value that is convolved.
        weight: float64 [out, in / groups, kh, kw].
        bias: float64 [out].
        stride: rows, columns.
        dilation: rows, columns.
        before: padding above and left.
        after: padding below and right.
        groups: of the channels.
        nodes: the nodes it stands for.
    """

    source: ir.Value
    weight: Float64
    bias: Float64
    stride: Pair
    dilation: Pair
    before: Pair
    after: Pair
    groups: int
    nodes: frozenset[ir.Node]

    def scaled(self, gain: Float64, shift: Float64, node: ir.Node) -> "LinearForm":
        """``gain * form + shift`` per output channel, computed by ``node``."""
        return replace(
            self,
            weight=self.weight * gain.reshape(-1, 1, 1, 1),
            bias=self.bias * gain + shift,
            nodes=self.nodes | {node},
        )


def linear_form(value: ir.Value, *, branches: bool) -> LinearForm | None:
    """The form of ``value``, or None if its producer is not linear with constant weights.

    Args:
        value: any value.
        branches: go through sums of parallel branches as well.
    """
    node = value.producer()
    if node is None:
        return None
    if node.op_type in ("Add", "Sum"):
        form = _per_channel(node, branches) if node.op_type == "Add" else None
        return form or (_sum(node) if branches else None)
    reader = _READERS.get(node.op_type)
    return reader(node, branches) if reader else None


def has_convolution(form: LinearForm) -> bool:
    """Whether there is more than scales and pools to it."""
    return any(node.op_type == "Conv" for node in form.nodes)


def has_branches(form: LinearForm) -> bool:
    """Whether parallel ways are summed in it."""
    return any(
        node.op_type in ("Add", "Sum")
        and all(x is None or x.const_value is None for x in node.inputs)
        for node in form.nodes
    )


def _constant(value: ir.Value | None) -> Float64 | None:
    if value is None or value.const_value is None:
        return None
    return np.asarray(value.const_value.numpy(), np.float64)


def _attribute(node: ir.Node, name: str, default: Any) -> Any:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.value


def _inner(value: ir.Value, branches: bool) -> LinearForm | None:
    """The form behind a value, if nothing else looks at that value; else its identity."""
    alone = len(value.uses()) == 1 and not value.is_graph_output()
    form = linear_form(value, branches=branches) if alone else None
    return form or _identity(value)


def _identity(value: ir.Value) -> LinearForm | None:
    if value.shape is None or len(value.shape) != 4 or not isinstance(value.shape[1], int):
        return None
    count = value.shape[1]
    return LinearForm(
        value, np.ones((count, 1, 1, 1)), np.zeros(count), (1, 1), (1, 1), (0, 0), (0, 0), count,
        frozenset(),
    )  # fmt: skip


def _convolution(node: ir.Node, branches: bool) -> LinearForm | None:
    weight = _constant(node.inputs[1])
    bias = _constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if weight is None or weight.ndim != 4 or node.inputs[0] is None:
        return None
    if len(node.inputs) > 2 and node.inputs[2] is not None and bias is None:
        return None
    if _attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    top, left, bottom, right = _attribute(node, "pads", (0, 0, 0, 0))
    return LinearForm(
        node.inputs[0],
        weight,
        np.zeros(len(weight)) if bias is None else bias,
        _pair(_attribute(node, "strides", (1, 1))),
        _pair(_attribute(node, "dilations", (1, 1))),
        (top, left),
        (bottom, right),
        _attribute(node, "group", 1),
        frozenset({node}),
    )


def _pair(numbers: Any) -> Pair:
    rows, columns = numbers
    return int(rows), int(columns)


def _normalization(node: ir.Node, branches: bool) -> LinearForm | None:
    numbers = [_constant(value) for value in node.inputs[1:5]]
    form = None if node.inputs[0] is None else _inner(node.inputs[0], branches)
    if form is None or any(x is None for x in numbers):
        return None
    gain, shift, mean, variance = (x for x in numbers if x is not None)
    t = gain / np.sqrt(variance + _attribute(node, "epsilon", 1e-5))
    return form.scaled(t, shift - t * mean, node)


def _per_channel(node: ir.Node, branches: bool) -> LinearForm | None:
    """Mul by, or Add of, a constant that has one number, or one per channel."""
    for x, other in (node.inputs, reversed(node.inputs)):
        vector = _constant(other)
        if x is None or vector is None:
            continue
        form = _inner(x, branches)
        if form is None or vector.shape not in ((), (1,), (1, len(form.bias), 1, 1)):
            continue
        full = np.broadcast_to(vector.reshape(-1), form.bias.shape)
        one, none = np.ones_like(form.bias), np.zeros_like(form.bias)
        return (
            form.scaled(full, none, node) if node.op_type == "Mul" else form.scaled(one, full, node)
        )
    return None


def _average(node: ir.Node, branches: bool) -> LinearForm | None:
    top, left, bottom, right = _attribute(node, "pads", (0, 0, 0, 0))
    counted = _attribute(node, "count_include_pad", 0) or not any((top, left, bottom, right))
    form = None if node.inputs[0] is None else _identity(node.inputs[0])
    if form is None or not counted or _attribute(node, "ceil_mode", 0):
        return None
    if _attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    if _pair(_attribute(node, "dilations", (1, 1))) != (1, 1):
        return None
    kernel = _pair(_attribute(node, "kernel_shape", None))
    taps = np.full((len(form.bias), 1, *kernel), 1 / math.prod(kernel))
    return replace(
        form,
        weight=taps,
        stride=_pair(_attribute(node, "strides", (1, 1))),
        before=(top, left),
        after=(bottom, right),
        nodes=frozenset({node}),
    )


_READERS: Mapping[str, Callable[[ir.Node, bool], LinearForm | None]] = {
    "Conv": _convolution,
    "BatchNormalization": _normalization,
    "Mul": _per_channel,
    "AveragePool": _average,
}


def _sum(node: ir.Node) -> LinearForm | None:
    """Branches that share a source, which may itself be one of the summands."""
    inputs = [value for value in node.inputs if value is not None]
    forms = [_inner(value, True) for value in inputs]
    for source in dict.fromkeys(form.source for form in forms if form is not None):
        branches = [
            _identity(value) if value is source else form
            for value, form in zip(inputs, forms, strict=True)
        ]
        if all(form is not None and form.source is source for form in branches):
            return _added([form for form in branches if form is not None], node)
    return None


def _added(forms: list[LinearForm], node: ir.Node) -> LinearForm | None:
    total = forms[0]
    for form in forms[1:]:
        merged = _add_two(total, form)
        if merged is None:
            return None
        total = merged
    return replace(total, nodes=total.nodes | {node})


def _add_two(a: LinearForm, b: LinearForm) -> LinearForm | None:
    if a.stride != b.stride or len(a.bias) != len(b.bias):
        return None
    groups = math.gcd(a.groups, b.groups)
    a, b = _regrouped(a, groups), _regrouped(b, groups)
    if a.weight.shape[1] != b.weight.shape[1]:
        return None
    dilation = _common_dilation(a, b)
    if dilation is None or _slack(a) != _slack(b):
        return None
    before = _pair(max(x) for x in zip(a.before, b.before, strict=True))
    reach = _pair(max(x) for x in zip(_reach(a), _reach(b), strict=True))
    after = _pair(r + s for r, s in zip(reach, _slack(a), strict=True))
    kernel = [(p + r) // d + 1 for p, r, d in zip(before, reach, dilation, strict=True)]
    weight = np.zeros((*a.weight.shape[:2], *kernel))
    for form in (a, b):
        rows, columns = (
            [(p - q + k * e) / d for k in range(n)]
            for p, q, e, d, n in zip(
                before, form.before, form.dilation, dilation, form.weight.shape[2:], strict=True
            )
        )
        if any(not tap.is_integer() for tap in (*rows, *columns)):
            return None
        index = np.ix_(range(weight.shape[0]), range(weight.shape[1]),
                       [int(n) for n in rows], [int(n) for n in columns])  # fmt: skip
        weight[index] += form.weight
    return LinearForm(
        a.source, weight, a.bias + b.bias, a.stride, dilation, before, after, groups,
        a.nodes | b.nodes,
    )  # fmt: skip


def _regrouped(form: LinearForm, groups: int) -> LinearForm:
    """The same function with fewer groups: zeros between channels that did not meet."""
    times = form.groups // groups
    out, per_group = form.weight.shape[:2]
    weight = np.zeros((out, per_group * times, *form.weight.shape[2:]))
    size = out // form.groups
    for o in range(out):
        start = (o // size) % times * per_group
        weight[o, start : start + per_group] = form.weight[o]
    return replace(form, weight=weight, groups=groups)


def _common_dilation(a: LinearForm, b: LinearForm) -> Pair | None:
    """A dilation on which the taps of both lie; a single tap lies on any."""
    both = []
    for axis in (0, 1):
        found = {f.dilation[axis] for f in (a, b) if f.weight.shape[2 + axis] > 1}
        if len(found) > 1:
            return None
        both.append(found.pop() if found else 1)
    return both[0], both[1]


def _reach(form: LinearForm) -> Pair:
    """How far the last tap lies behind the output's own position."""
    rows, columns = (
        d * (k - 1) - p
        for d, k, p in zip(form.dilation, form.weight.shape[2:], form.before, strict=True)
    )
    return rows, columns


def _slack(form: LinearForm) -> Pair:
    """Padding behind, beyond what the taps reach; equal slack gives equal output sizes."""
    rows, columns = (p - r for p, r in zip(form.after, _reach(form), strict=True))
    return rows, columns
