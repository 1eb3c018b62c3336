"""Factors that bring the channels of a rounded tensor to one range, and where they may go."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from detq.placement.points import copies
from detq.plan import Placement, QuantPoint
from detq.stats import TensorStats

Factors = NDArray[np.float64]

SMALLEST = 1 / 64  # a channel that is nearly dead must not blow up its noise
DEAD = 1e-6  # of the largest channel: nothing is seen of it
# f(y / r) = f(y) / r for every r above zero
HOMOGENEOUS = ("LeakyRelu", "Relu")


def largest_magnitudes(stats: Mapping[str, TensorStats]) -> dict[str, Factors]:
    """Value name → float64 [C], the largest magnitude seen in each channel."""
    return {
        name: np.maximum(np.abs(seen.channel_minimum), np.abs(seen.channel_maximum)).astype(
            np.float64
        )
        for name, seen in stats.items()
    }


def takers(values: Mapping[str, ir.Value], placement: Placement) -> tuple[str, ...]:
    """Tie groups whose readers are all INT8 layers, or copy into the group.

    The image is what it is: a group that holds it is not among them.
    """
    int8 = {layer.node for layer in placement.layers if layer.int8}
    return tuple(
        group
        for group, points in placement.groups.items()
        if all(_takes(point, values[point.value], int8) for point in points)
    )


def _takes(point: QuantPoint, value: ir.Value, int8: set[str]) -> bool:
    readers = {node for node in value.consumers() if node.name in point.consumers}
    if not all(copies(node) or _reads_as_input(node, value, int8) for node in readers):
        return False
    producer = value.producer()
    if producer is None:
        return False
    # Of a copy nobody else may see the factors.
    seen = value.is_graph_output() or readers != set(value.consumers())
    return not (copies(producer) and seen)


def _reads_as_input(node: ir.Node, value: ir.Value, int8: set[str]) -> bool:
    return node.name in int8 and node.inputs[0] is value and value not in node.inputs[1:]


def originals(points: Sequence[QuantPoint], values: Mapping[str, ir.Value]) -> list[ir.Value]:
    """Tensors of a group that are not copies of others."""
    found = [values[point.value] for point in points]
    return [x for x in found if (p := x.producer()) is None or not copies(p)]


def spread(tensors: Sequence[ir.Value], ranges: Mapping[str, Factors]) -> float:
    """The largest channel over the median one that is not dead; 0 if all are."""
    every = np.concatenate([ranges[str(value.name)] for value in tensors])
    alive = every[every > every.max() * DEAD]
    return float(every.max() / np.median(alive)) if alive.size else 0.0


def channel_factors(
    tensors: Sequence[ir.Value], ranges: Mapping[str, Factors], balance: float
) -> dict[ir.Value, Factors]:
    """``(R_c / max R) ^ balance`` for every channel of the tensors of a group that are no copies.

    Args:
        tensors: of one tie group, ``originals``.
        ranges: value name → float64 [C], R.
        balance: 0 leaves everything to the tensors, 1 to the weights.
    """
    largest = max(float(ranges[str(value.name)].max()) for value in tensors)
    return {value: _factor(ranges[str(value.name)] / largest, balance) for value in tensors}


def _factor(share: Factors, balance: float) -> Factors:
    factor: Factors = np.clip(np.where(share <= DEAD, 1.0, share) ** balance, SMALLEST, 1.0)
    # What the graph stores is float32, and both sides must mean the same number.
    return factor.astype(np.float32).astype(np.float64)


def through(value: ir.Value, known: dict[ir.Value, Factors]) -> Factors:
    """The factor of a tensor, through the copies that made it; ``known`` grows by it."""
    if value not in known:
        node = value.producer()
        if node is None:
            raise AssertionError(f"{value.name} is no copy")
        inputs = [x for x in node.inputs if x is not None and x.const_value is None]
        parts = [through(x, known) for x in (inputs if node.op_type == "Concat" else inputs[:1])]
        known[value] = np.concatenate(parts)
    return known[value]


def scaled_inputs(node: ir.Node, weight: Factors, factor: Factors) -> Factors:
    """Weights of a layer with its input channels multiplied.

    Args:
        node: Conv, [out, in / groups, kh, kw], or ConvTranspose, [in, out / groups, kh, kw].
        weight: float64.
        factor: float64 [in].
    """
    if node.op_type == "ConvTranspose":
        per_input = np.broadcast_to(factor[:, None], weight.shape[:2])
    else:
        per_input = np.repeat(
            factor.reshape(groups_of(node), -1), len(weight) // groups_of(node), 0
        )
    scaled: Factors = weight * per_input[:, :, None, None]
    return scaled


def groups_of(node: ir.Node) -> int:
    """Groups of a convolution."""
    return int(node.attributes["group"].value) if "group" in node.attributes else 1


def costs_nothing(value: ir.Value, readers: Sequence[str]) -> bool:
    """Whether the layer in front can take a tensor's factors, so that no node is left for them.

    Args:
        value: no copy.
        readers: names of those that will see the factors.
    """
    if value.is_graph_output() or any(node.name not in readers for node in value.consumers()):
        return False
    node = value.producer()
    if node is not None and node.op_type in HOMOGENEOUS:
        before = node.inputs[0]
        if before is None or len(before.uses()) != 1 or before.is_graph_output():
            return False
        node = before.producer()
        return node is not None and node.op_type == "Conv"
    return node is not None and node.op_type in ("Conv", "ConvTranspose")
