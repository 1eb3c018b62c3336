"""What a network is made of, before and after merging."""

from collections import Counter
from collections.abc import Iterator

import msgspec
import numpy as np
import onnx_ir as ir

from detq.model import FloatModel


class Kernel(msgspec.Struct, frozen=True):
    """One dense 3 x 3 kernel.

    Attributes:
        layer: node name.
        block: block it was merged from, or lies in.
        shape: out, in / groups, rows, columns.
        centre_over_surround: std of the centre taps over std of the eight others. Merging
            an identity and a 1 x 1 branch raises it, and one scale then serves both badly.
    """

    layer: str
    block: str
    shape: tuple[int, ...]
    centre_over_surround: float


class Summary(msgspec.Struct, frozen=True):
    """A network in figures.

    Attributes:
        family: such as ``YOLOv6 N``.
        names: class names.
        strides: pixels per cell.
        size: height and width.
        source: what it was read from.
        stages: in the order of the graph.
        blocks: kind → number.
        parameters: stored numbers with the branches apart.
        parameters_merged: after merging.
        layers: convolutions after merging.
        kernels: of the merged network, in the order of the graph.
    """

    family: str
    names: tuple[str, ...]
    strides: tuple[int, ...]
    size: tuple[int, int]
    source: str
    stages: tuple[str, ...]
    blocks: dict[str, int]
    parameters: int
    parameters_merged: int
    layers: int
    kernels: tuple[Kernel, ...]


def summarize(source: FloatModel, merged: FloatModel) -> Summary:
    """Figures of a network and its merged form."""
    detector = source.detector
    return Summary(
        detector.family,
        detector.names,
        detector.strides,
        detector.size,
        detector.source,
        source.stages,
        dict(Counter(block.kind for block in source.blocks)),
        source.parameters,
        merged.parameters,
        sum(node.op_type in ("Conv", "ConvTranspose") for node in merged.graph.graph),
        tuple(dense_kernels(merged)),
    )


def dense_kernels(model: FloatModel) -> Iterator[Kernel]:
    """Every 3 x 3 kernel but the depthwise ones, in the order of the graph."""
    blocks = {node: block.name for block in model.blocks for node in block.nodes}
    for node in model.graph.graph:
        weight = _weights(node)
        if weight is None or weight.shape[2:] != (3, 3) or weight.shape[1] == 1:
            continue
        centre = weight[:, :, 1, 1]
        around = np.delete(weight.reshape(*weight.shape[:2], 9), 4, axis=2)
        ratio = float(centre.std() / max(float(around.std()), np.finfo(np.float32).tiny))
        yield Kernel(str(node.name), blocks.get(node, ""), weight.shape, ratio)


def _weights(node: ir.Node) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None:
    stored = node.inputs[1] if node.op_type == "Conv" else None
    if stored is None or stored.const_value is None:
        return None
    return np.asarray(stored.const_value.numpy(), np.float64)
