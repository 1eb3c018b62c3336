"""CFWS: the centre and the surround of a merged kernel with scales of their own.

Merging an identity and a 1 x 1 branch into a 3 x 3 kernel makes its centre taps far larger
than the eight around them, and one scale then leaves the surround a handful of integers. The
kernel ``W`` of each output channel is split (coarse and fine weight splitting,
arXiv 2312.10588; the published code's per-channel form)::

    g        = max|C| / 127              C: the centre taps
    W_coarse = round(C / g) g            at the centre, zero around: a 1 x 1 convolution
    W_fine   = W - W_coarse              the surround, and what rounding left of the centre

``W_coarse`` is represented exactly by the scale ``g``, so every tap of ``W`` is as exact as
the scale of the fine part. Both read one rounded input, and their outputs are added in float.
The 1 x 1 part costs one ninth of the multiplications of the 3 x 3 again.
"""

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from detq.errors import NotEquivalentError
from detq.graph.build import BLOCK, KIND, STAGE
from detq.model import FloatModel
from detq.numerics import WEIGHTS, quantize, scale_from_range

Floats = NDArray[Any]

LEAST_GAIN_DB = 3.0  # of the surround's signal over its rounding error; less is not worth a layer
TOLERANCE = 2.0**-22  # of the largest weight: both parts are stored as float32


def split_coarse_fine(model: FloatModel) -> FloatModel:
    """Every dense kernel whose surround gains 3 dB or more, as a fine and a coarse convolution.

    Raises:
        NotEquivalentError: the parts do not add up to the kernel.
    """
    copy = model.graph.clone()
    graph = copy.graph
    for node in list(graph):
        weight = _splittable(node)
        if weight is not None and surround_gain_db(weight) >= LEAST_GAIN_DB:
            _split(graph, node, weight)
    return FloatModel(copy, model.detector)


def coarse_and_fine(weight: Floats) -> tuple[Floats, Floats]:
    """The two parts of a kernel.

    Args:
        weight: float32 [out, in, k, k], k odd.

    Returns:
        float32 [out, in, 1, 1] and float32 [out, in, k, k].
    """
    middle = weight.shape[2] // 2
    centre = weight[:, :, middle, middle]
    step = scale_from_range(np.abs(centre).max(axis=1, keepdims=True), WEIGHTS)
    coarse = quantize(centre, step, WEIGHTS) * step
    fine = weight.copy()
    fine[:, :, middle, middle] = centre.astype(np.float64) - coarse
    return coarse[:, :, None, None], fine


def surround_gain_db(weight: Floats) -> float:
    """How much better the taps around the centre are represented after the split, in dB."""
    _, fine = coarse_and_fine(weight)
    around = _around(weight)
    if not around.any():
        return 0.0  # nothing to protect
    before, after = (_error(part) for part in (weight, fine))
    return 10 * math.log10(max(before, 1e-300) / max(after, 1e-300))


def _error(weight: Floats) -> float:
    """Sum of squares of what rounding does to the surround, one scale per output channel."""
    scale = scale_from_range(np.abs(weight).max(axis=(1, 2, 3), keepdims=True), WEIGHTS)
    rounded = quantize(weight, scale, WEIGHTS) * scale
    return float(np.square(_around(weight).astype(np.float64) - _around(rounded)).sum())


def _around(weight: Floats) -> Floats:
    taps = weight.reshape(*weight.shape[:2], -1)
    around: Floats = np.delete(taps, taps.shape[2] // 2, axis=2)
    return around


def _splittable(node: ir.Node) -> Floats | None:
    """Weights of a dense convolution with an odd square kernel whose centre lies on its input."""
    stored = node.inputs[1] if node.op_type == "Conv" else None
    if stored is None or stored.const_value is None or len(stored.uses()) != 1:
        return None
    weight: Floats = stored.const_value.numpy()
    if weight.ndim != 4 or weight.shape[1] == 1 or weight.shape[2] != weight.shape[3]:
        return None
    kernel = weight.shape[2]
    dilations = _list(node, "dilations", [1, 1])
    centred = [d * (kernel // 2) for d in dilations] * 2 == _list(node, "pads", [0] * 4)
    return weight if kernel > 1 and kernel % 2 and centred else None


def _list(node: ir.Node, name: str, default: list[int]) -> list[int]:
    attribute = node.attributes.get(name)
    return list(attribute.value) if attribute is not None else default


def _split(graph: ir.Graph, node: ir.Node, weight: Floats) -> None:
    coarse, fine = coarse_and_fine(weight)
    _check(node, weight, coarse, fine)
    name, old = str(node.name), node.outputs[0]
    stored = node.inputs[1]
    if stored is None:
        raise AssertionError(f"{name} lost its weights")
    stored.const_value = ir.tensor(fine, name=stored.name)
    beside = _initializer(graph, f"{name}.coarse.weight", coarse)
    attributes = {
        "kernel_shape": [1, 1],
        "strides": _list(node, "strides", [1, 1]),
        "group": node.attributes["group"].value if "group" in node.attributes else 1,
    }
    conv = _node("Conv", [node.inputs[0], beside], f"{name}.coarse", node, attributes)
    total = _node("Add", [old, conv.outputs[0]], f"{name}.sum", node, {})
    old.replace_all_uses_with(total.outputs[0], replace_graph_outputs=True)
    total.replace_input_with(0, old)
    graph.insert_after(node, [conv, total])


def _check(node: ir.Node, weight: Floats, coarse: Floats, fine: Floats) -> None:
    total = fine.astype(np.float64)
    middle = weight.shape[2] // 2
    total[:, :, middle, middle] += coarse[:, :, 0, 0]
    difference = float(np.abs(total - weight).max())
    if not difference <= TOLERANCE * float(np.abs(weight).max()):
        raise NotEquivalentError(
            f"split_coarse_fine changed a weight by {difference:.3g}",
            where=str(node.metadata_props.get(BLOCK) or node.name),
            hint="leave split_coarse_fine out of the recipe's transforms and report the model",
        )


def _initializer(graph: ir.Graph, name: str, array: Floats) -> ir.Value:
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(ir.DataType.FLOAT),
        const_value=ir.tensor(array, name=name),
    )
    graph.register_initializer(value)
    return value


def _node(
    operator: str, inputs: list[ir.Value | None], name: str, beside: ir.Node, attributes: Any
) -> ir.Node:
    like = beside.outputs[0]
    marks = {
        key: beside.metadata_props[key]
        for key in (BLOCK, KIND, STAGE)
        if key in beside.metadata_props
    }
    return ir.Node(
        "",
        operator,
        inputs,
        ir.convenience.convert_attributes(attributes),
        outputs=[ir.Value(name=name, shape=like.shape, type=like.type)],
        name=name,
        metadata_props=marks,
    )
