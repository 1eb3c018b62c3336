"""CFWS: the centre and the surround of a merged kernel with scales of their own.

Merging an identity and a 1 x 1 branch into a 3 x 3 kernel makes its centre taps far larger
than the eight around them, and one scale then leaves the surround a handful of integers. The
kernel ``W`` of each output channel is split (coarse and fine weight splitting,
arXiv 2312.10588; the published code's forms)::

    g        = max|C| / q                C: the centre taps, q: the largest integer
    W_coarse = round(C / g) g            at the centre, zero around: a 1 x 1 convolution
    W_fine   = W - W_coarse              the surround, and what rounding left of the centre

with one ``g`` per output channel, or one in all where weights have one scale per tensor.
``W_coarse`` is represented exactly by the scale ``g``, so every tap of ``W`` is as exact as
the scale of the fine part. Both read one rounded input, and their outputs are added in float.
The 1 x 1 part costs one ninth of the multiplications of the 3 x 3 again.

The split comes after whatever changes weights (merging, evening out channels), since the
coarse part is exact on the grid of the weights it was made for, and on no other.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from detq.errors import NotEquivalentError
from detq.graph.build import BLOCK, KIND, STAGE
from detq.graph.stored import store
from detq.model import FloatModel
from detq.numerics import WEIGHTS, Grid, quantize, scale_from_range
from detq.transforms.merge import BRANCHES

Floats = NDArray[Any]

TOLERANCE = 2.0**-22  # of the largest weight: both parts are stored as float32
COARSE, FINE = ".coarse", ".fine"


def split_coarse_fine(
    model: FloatModel, layers: Collection[str], grid: Grid = WEIGHTS, *, per_tensor: bool = False
) -> FloatModel:
    """Kernels as a fine and a coarse convolution each; the sum keeps the name of the output.

    Args:
        model: merged; left alone.
        layers: names of convolutions, from ``splittable``.
        grid: that the weights will be rounded to.
        per_tensor: they will have one scale per layer.

    Raises:
        NotEquivalentError: the parts do not add up to the kernel.
    """
    copy = model.graph.clone()
    graph = copy.graph
    for node in [node for node in graph if node.name in layers]:
        weight = _splittable(node)
        if weight is None:
            raise AssertionError(f"{node.name} has no kernel to split")
        _split(graph, node, weight, grid, per_tensor)
    return FloatModel(copy, model.detector)


def splittable(model: FloatModel) -> Mapping[str, Floats]:
    """Name of a layer → float32 [out, in / groups, k, k], in the order of the graph.

    Dense kernels, k odd and above 1, whose centre lies on the pixel they compute.
    """
    found = {str(node.name): _splittable(node) for node in model.graph.graph}
    return {name: weight for name, weight in found.items() if weight is not None}


def merged_kernels(model: FloatModel) -> frozenset[str]:
    """Layers of ``splittable`` that parallel branches were merged into.

    Of a network that came merged nobody can tell: then all of them.
    """
    known = splittable(model)
    marked = {str(n.name) for n in model.graph.graph if n.metadata_props.get(BRANCHES)}
    return frozenset(known.keys() & marked or known.keys())


def coarse_and_fine(
    weight: Floats, grid: Grid = WEIGHTS, *, per_tensor: bool = False
) -> tuple[Floats, Floats]:
    """The two parts of a kernel.

    Args:
        weight: float32 [out, in, k, k], k odd.
        grid: of the weights.
        per_tensor: one step for all output channels.

    Returns:
        float32 [out, in, 1, 1] and float32 [out, in, k, k].
    """
    middle = weight.shape[2] // 2
    centre = weight[:, :, middle, middle]
    step = _scale(centre, grid, per_tensor)
    coarse = quantize(centre, step, grid) * step
    fine = weight.copy()
    fine[:, :, middle, middle] = centre.astype(np.float64) - coarse
    return coarse[:, :, None, None], fine


def surround_snr_db(
    weight: Floats, grid: Grid = WEIGHTS, *, per_tensor: bool = False
) -> tuple[float, float]:
    """Signal over rounding error of the taps around the centre, in dB: plain and split.

    The error of the whole kernel hides what happens to them, for the centre holds most of its
    power. Infinite where there is no error, as of a surround of zeros.
    """
    _, fine = coarse_and_fine(weight, grid, per_tensor=per_tensor)
    plain, split = (
        _ratio_db(_around(part), _around(part) - _around(_rounded(part, grid, per_tensor)))
        for part in (weight, fine)
    )
    return plain, split


def _ratio_db(signal: Floats, noise: Floats) -> float:
    powers = [float(np.square(x, dtype=np.float64).sum()) for x in (signal, noise)]
    if powers[1] == 0:
        return math.inf
    return 10 * math.log10(powers[0] / powers[1]) if powers[0] else -math.inf


def _rounded(weight: Floats, grid: Grid, per_tensor: bool) -> Floats:
    scale = _scale(weight, grid, per_tensor)
    rounded: Floats = quantize(weight, scale, grid) * scale
    return rounded


def _scale(weight: Floats, grid: Grid, per_tensor: bool) -> Floats:
    axes = tuple(range(0 if per_tensor else 1, weight.ndim))
    return scale_from_range(np.abs(weight).max(axis=axes, keepdims=True, initial=0), grid)


def _around(weight: Floats) -> Floats:
    taps = weight.reshape(*weight.shape[:2], -1)
    around: Floats = np.delete(taps, taps.shape[2] // 2, axis=2)
    return around


def _splittable(node: ir.Node) -> Floats | None:
    stored = node.inputs[1] if node.op_type == "Conv" else None
    if stored is None or stored.const_value is None or len(stored.uses()) != 1:
        return None
    if str(node.outputs[0].name).endswith(FINE):
        return None  # is split
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


def _split(graph: ir.Graph, node: ir.Node, weight: Floats, grid: Grid, per_tensor: bool) -> None:
    coarse, fine = coarse_and_fine(weight, grid, per_tensor=per_tensor)
    _check(node, weight, coarse, fine)
    name, old, stored = str(node.name), node.outputs[0], node.inputs[1]
    if stored is None:
        raise AssertionError(f"{name} lost its weights")
    stored.const_value = ir.tensor(fine, name=stored.name)
    beside = store(graph, f"{name}{COARSE}.weight", coarse)
    attributes = {
        "kernel_shape": [1, 1],
        "strides": _list(node, "strides", [1, 1]),
        "group": node.attributes["group"].value if "group" in node.attributes else 1,
    }
    taken = str(old.name)
    conv = _node("Conv", [node.inputs[0], beside], f"{name}{COARSE}", node, attributes)
    total = _node("Add", [old, conv.outputs[0]], f"{name}.sum", node, {})
    old.replace_all_uses_with(total.outputs[0], replace_graph_outputs=True)
    total.replace_input_with(0, old)
    # Whoever knows the layer's output by its name, such as statistics, means the sum.
    old.name, total.outputs[0].name = f"{taken}{FINE}", taken
    graph.insert_after(node, [conv, total])


def _check(node: ir.Node, weight: Floats, coarse: Floats, fine: Floats) -> None:
    total = fine.astype(np.float64)
    middle = weight.shape[2] // 2
    total[:, :, middle, middle] += coarse[:, :, 0, 0]
    difference = float(np.abs(total - weight).max())
    if not difference <= TOLERANCE * float(np.abs(weight).max()):
        raise NotEquivalentError(
            f"coarse and fine weights differ from the kernel by {difference:.3g}",
            where=str(node.metadata_props.get(BLOCK) or node.name),
            hint="leave coarse_fine out of the recipe and report the model",
        )


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
