"""How much of each layer's output is rounding noise: the quantized file against the float one.

Both run in torch on the same images. ``noise`` is the mean square of the difference of a layer's
output in the two networks, with everything in front of it rounded too. ``own_noise`` is what this
layer adds by itself: its input is the float network's, rounded as the file rounds it, and so are
its weights. Both are told as a ratio of powers, 10 log10(signal / noise) in dB: 6 dB are one bit.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from detq.errors import UnsupportedOperatorError
from detq.graph.slices import values_by_name
from detq.model import FloatModel
from detq.plan import Layer, Placement
from detq.summary import Kernel

if TYPE_CHECKING:
    from torch import Tensor


class LayerError(msgspec.Struct, frozen=True, kw_only=True):
    """One layer with weights.

    Attributes:
        node: its name.
        operator: ONNX operator.
        int8: whether input and weights are rounded.
        reason: the rule, in words.
        input: name of the tensor it reads.
        signal: mean square of its output in the float network.
        noise: mean square of the difference, everything in front rounded too.
        own_noise: mean square of the difference that it makes alone; None for a float layer.
    """

    node: str
    operator: str
    int8: bool
    reason: str
    input: str
    signal: float
    noise: float
    own_noise: float | None = None


class TensorRange(msgspec.Struct, frozen=True, kw_only=True):
    """What the integers of one rounded tensor cover.

    Attributes:
        value: name of the tensor.
        group: tie group, whose members share the scale.
        rule: which placement rule put it there.
        scale: width of one step.
        lowest: value of the lowest integer.
        highest: value of the highest integer.
    """

    value: str
    group: str
    rule: str
    scale: float
    lowest: float
    highest: float


class LayerErrors(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one target.

    Attributes:
        target: its name.
        file: the quantized model, in the run folder.
        stats: file of the statistics that the ranges were taken from.
        images: how many images the noise was measured on.
        layers: in the order of the graph.
        tensors: rounded ones, in the order of the graph.
        kernels: dense 3 x 3 kernels of the merged float network.
    """

    target: str
    file: str
    stats: str
    images: int
    layers: tuple[LayerError, ...]
    tensors: tuple[TensorRange, ...]
    kernels: tuple[Kernel, ...]


def decibels(signal: float, noise: float) -> float:
    """Ratio of two powers; infinite where there is no noise, -infinite where no signal."""
    if noise <= 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def ranges_of(model: ir.Model, placement: Placement) -> tuple[TensorRange, ...]:
    """What the scales in a Q/DQ file cover.

    Args:
        model: the file; points that it has no QuantizeLinear for are left out.
        placement: the points it was made by.
    """
    scales: dict[str, float] = {}
    for node in model.graph:
        if node.op_type == "QuantizeLinear" and node.inputs[0] is not None:
            scale = None if node.inputs[1] is None else node.inputs[1].const_value
            if scale is not None and scale.size == 1:
                scales[str(node.inputs[0].name)] = float(scale.numpy().item())
    return tuple(
        TensorRange(
            value=point.value,
            group=point.group,
            rule=point.rule,
            scale=scales[point.value],
            lowest=point.grid.lowest * scales[point.value],
            highest=point.grid.highest * scales[point.value],
        )
        for point in placement.points
        if point.value in scales
    )


def layer_errors(
    model: FloatModel,
    quantized: ir.Model,
    placement: Placement,
    batches: Iterable[NDArray[np.float32]],
    on_step: Callable[[int], None] = lambda done: None,
) -> tuple[LayerError, ...]:
    """Run both networks and compare the output of every layer.

    Args:
        model: the float network that the placement was made for.
        quantized: the file made of it; layers it has under another name are left out, and all
            of them where it takes other than float images or cannot be run in torch.
        placement: points and layers.
        batches: images as the network takes them, float32 [B, 3, H, W].
        on_step: told how many batches are done.
    """
    import torch

    from detq.graph.execute import exact_float32

    feed = str(model.graph.graph.inputs[0].name)
    taken = quantized.graph.inputs[0]
    if (taken.name, taken.dtype) != (feed, ir.DataType.FLOAT):
        return ()
    with torch.inference_mode(), exact_float32():
        try:
            meters = list(_meters(model, quantized, placement))
            outputs = list(dict.fromkeys(meter.output for meter in meters))
            rounded = _ready(quantized.graph, feed, outputs)
        except UnsupportedOperatorError:
            return ()
        inputs = [meter.input for meter in meters]
        as_float = _ready(model.graph.graph, feed, list(dict.fromkeys([*outputs, *inputs])))
        for done, batch in enumerate(batches, 1):
            images = {feed: torch.from_numpy(batch)}
            reference, found = as_float(images), rounded(images)
            for meter in meters:
                meter.add(reference, found)
            on_step(done)
    return tuple(meter.error() for meter in meters)


_Run = Callable[[Mapping[str, "Tensor"]], dict[str, "Tensor"]]


def _ready(graph: ir.Graph, feed: str, outputs: list[str]) -> _Run:
    from detq.graph.execute import compile_slice, execute, fold_constants, parameters

    program = compile_slice(graph, [feed], outputs)
    params = parameters(program)
    program = fold_constants(program, params)
    return lambda feeds: execute(program, feeds, params)


def _meters(
    model: FloatModel, quantized: ir.Model, placement: Placement
) -> "Iterable[_LayerMeter]":
    nodes = {str(node.name): node for node in model.graph.graph}
    known = values_by_name(quantized.graph)
    for layer in placement.layers:
        node = nodes[layer.node]
        read, made = str(node.inputs[0].name if node.inputs[0] else ""), str(node.outputs[0].name)
        if made in known:
            alone = layer.int8 and read in known
            run = _ready(quantized.graph, read, [made]) if alone else None
            yield _LayerMeter(layer, read, made, run)


class _LayerMeter:
    """Adds up squares in float64; memory does not grow with the images."""

    def __init__(self, layer: Layer, read: str, made: str, alone: _Run | None) -> None:
        self.input, self.output = read, made
        self._layer, self._alone = layer, alone
        self._count, self._signal, self._noise, self._own = 0, 0.0, 0.0, 0.0

    def add(self, reference: Mapping[str, "Tensor"], found: Mapping[str, "Tensor"]) -> None:
        wanted = reference[self.output]
        self._count += wanted.numel()
        self._signal += _squares(wanted)
        self._noise += _squares(found[self.output] - wanted)
        if self._alone is not None:
            alone: Any = self._alone({self.input: reference[self.input]})[self.output]
            self._own += _squares(alone - wanted)

    def error(self) -> LayerError:
        count = max(self._count, 1)
        return LayerError(
            node=self._layer.node,
            operator=self._layer.operator,
            int8=self._layer.int8,
            reason=self._layer.reason,
            input=self.input,
            signal=self._signal / count,
            noise=self._noise / count,
            own_noise=None if self._alone is None else self._own / count,
        )


def _squares(tensor: "Tensor") -> float:
    return float(tensor.double().square().sum())
