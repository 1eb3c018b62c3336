"""Channel-wise scales behind LayerNorm turned into one scale, exactly.

A LayerNorm's channels differ in range and in centre. With ``lo`` and ``hi`` the ends of channel
c, ``m = (lo + hi) / 2`` and ``h = (hi - lo) / 2``, one symmetric scale fits all channels of ::

    x' = (x - m) / r,      r = h / mean h

The LayerNorm takes it into its gain and shift, and the linear layers behind it give it back::

    gain' = gain / r       shift' = (shift - m) / r
    W'    = diag(r) W      b'     = b + m W

This is RepQuant's change of variables with both zero points where a symmetric grid has them.
The float function is unchanged, which is checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from detq.graph.build import BLOCK, KIND, STAGE
from detq.graph.stored import array_of, drop_unused, store
from detq.model import FloatModel
from detq.repquant.linear import is_linear, output_axis
from detq.stats import TensorStats
from detq.transforms.equivalence import check_equivalent

Floats = NDArray[np.float64]

DEAD = 1e-6  # of the widest channel
TOLERANCE = 1e-5  # of the largest output; weights are stored as float32


@dataclass(frozen=True, slots=True)
class Reparameterized:
    """The same network.

    Attributes:
        model: to be placed and observed anew.
        norms: names of the LayerNorms that were changed.
    """

    model: FloatModel
    norms: tuple[str, ...]


def reparameterize_layer_norms(
    model: FloatModel, stats: Mapping[str, TensorStats]
) -> Reparameterized:
    """Every LayerNorm over the last dimension that only linear layers read.

    Args:
        model: float network; left alone.
        stats: value name → what was seen, the channels of a LayerNorm's output its last dimension;
            of the tensors that will be rounded, others are left alone.

    Raises:
        NotEquivalentError: the network computes something else afterwards.
    """
    copy = model.graph.clone()
    graph = copy.graph
    changed = []
    for node in list(graph):
        seen = stats.get(str(node.outputs[0].name))
        if node.op_type == "LayerNormalization" and seen is not None and _can_take(node):
            low, high = (
                np.asarray(x, np.float64) for x in (seen.channel_minimum, seen.channel_maximum)
            )
            _apply(graph, node, *_centre_and_ratio(low, high))
            changed.append(str(node.name))
    drop_unused(graph)
    found = FloatModel(copy, model.detector)
    check_equivalent(
        model,
        found,
        what="giving LayerNorms one scale",
        field="repquant",
        tolerance=TOLERANCE,
    )
    return Reparameterized(found, tuple(changed))


def _can_take(node: ir.Node) -> bool:
    axis = node.attributes.get("axis")
    value, rank = node.outputs[0], len(node.outputs[0].shape or ())
    last = axis is None or axis.value in (-1, rank - 1)
    used = [out for out in node.outputs[1:] if out.uses()]
    constant = all(x is None or x.const_value is not None for x in node.inputs[1:])
    readers = value.consumers()
    if used or value.is_graph_output() or not (last and constant and readers):
        return False
    return all(is_linear(x) and x.inputs[0] is value and value not in x.inputs[1:] for x in readers)


def _centre_and_ratio(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    half = (high - low) / 2
    alive = half > half.max(initial=0) * DEAD
    ratio = np.where(alive, half / half[alive].mean() if alive.any() else 1.0, 1.0)
    return (low + high) / 2, ratio


def _apply(graph: ir.Graph, norm: ir.Node, centre: Floats, ratio: Floats) -> None:
    gain, shift = _array(norm, 1), _array(norm, 2)
    old = np.zeros_like(centre) if shift is None else shift
    if gain is None:
        raise AssertionError(f"{norm.name} has no gain")
    norm.resize_inputs(3)
    norm.replace_input_with(1, _store(graph, f"{norm.name}.gain", gain / ratio))
    norm.replace_input_with(2, _store(graph, f"{norm.name}.shift", (old - centre) / ratio))
    for node in norm.outputs[0].consumers():
        weight = _array(node, 1)
        if weight is None:
            raise AssertionError(f"{node.name} has no weights")
        rows = weight if output_axis(node) == 1 else weight.T
        scaled = rows * ratio[:, None]
        new = scaled if output_axis(node) == 1 else scaled.T
        node.replace_input_with(1, _store(graph, f"{node.name}.weight", new))
        _add_bias(graph, node, centre @ rows)


def _array(node: ir.Node, index: int) -> Floats | None:
    stored = array_of(node.inputs[index]) if len(node.inputs) > index else None
    return None if stored is None else np.asarray(stored, np.float64)


def _store(graph: ir.Graph, name: str, array: Floats) -> ir.Value:
    return store(graph, name, np.ascontiguousarray(array, np.float32))


def _add_bias(graph: ir.Graph, node: ir.Node, more: Floats) -> None:
    """Into the bias of a Gemm, into the constant that is added to a MatMul, or behind it."""
    if node.op_type == "Gemm":
        old = _array(node, 2)
        node.resize_inputs(3)
        node.replace_input_with(
            2, _store(graph, f"{node.name}.bias", more + (0 if old is None else old))
        )
        return
    out = node.outputs[0]
    readers = list(out.consumers())
    if len(readers) == 1 and readers[0].op_type == "Add" and not out.is_graph_output():
        add = readers[0]
        index = 1 if add.inputs[0] is out else 0
        old = _array(add, index)
        if old is not None and old.shape in ((), (1,), more.shape):
            add.replace_input_with(index, _store(graph, f"{node.name}.bias", more + old))
            return
    marks: dict[str, Any] = {
        key: node.metadata_props[key] for key in (BLOCK, KIND, STAGE) if key in node.metadata_props
    }
    name = f"{node.name}.shifted"
    total = ir.Node(
        "", "Add", [out, _store(graph, f"{node.name}.bias", more)],
        outputs=[ir.Value(name=name, shape=out.shape, type=out.type)],
        name=name, metadata_props=marks,
    )  # fmt: skip
    out.replace_all_uses_with(total.outputs[0], replace_graph_outputs=True)
    total.replace_input_with(0, out)
    graph.insert_after(node, total)
