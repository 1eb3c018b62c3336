"""What evening out the channels of a tensor brings, measured on the layers that read it.

For every tie group, every layer that reads it and a few images: the layer's output with input
and weights rounded as they are, and with channels evened out by each balance (see
:mod:`detq.equalize`), both against the float output. The error is relative to the power of the
layer's output and added up over the readers, so that no reader is sacrificed to another.

Rounding the input gets better with the balance and rounding the weights worse, for a dense layer
has one weight scale for all its input channels. A depthwise layer has one for each, and loses
nothing. Which of it prevails depends on weights and images, so it is tried.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from detq.channel_factors import (
    Factors,
    channel_factors,
    costs_nothing,
    originals,
    scaled_inputs,
    spread,
    takers,
    through,
)
from detq.graph.execute import compile_slice, exact_float32, execute, parameters
from detq.graph.ops import TABLE
from detq.graph.slices import values_by_name
from detq.graph.stored import array_of
from detq.model import FloatModel
from detq.numerics import Grid, quantize, scale_from_range
from detq.plan import Layer, Placement, QuantPoint
from detq.ranges.weights import WeightRange, largest_weights, scale_for
from detq.stats import Range

BALANCES = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Trial:
    """One tie group.

    Attributes:
        group: its name.
        gains_db: balance → power of the readers' error as it is over that with even channels.
        multiplies: a factor would stay in the graph, as a multiplication per channel.
    """

    group: str
    gains_db: Mapping[float, float]
    multiplies: bool

    @property
    def best(self) -> tuple[float, float]:
        """Balance and gain, the least balance of equals."""
        balance = max(self.gains_db, key=lambda b: (self.gains_db[b], -b))
        return balance, self.gains_db[balance]


def worth_it(trials: Iterable[Trial], least_gain_db: float) -> dict[str, float]:
    """Group → its best balance, for those that gain.

    Args:
        trials: of all groups.
        least_gain_db: where a multiplication stays in the graph; any gain will do elsewhere.
    """
    return {
        trial.group: trial.best[0]
        for trial in trials
        if trial.best[1] > (least_gain_db if trial.multiplies else 0.0)
    }


def try_balances(
    model: FloatModel,
    placement: Placement,
    channel_ranges: Mapping[str, NDArray[np.float64]],
    ranges: Mapping[str, Range],
    batches: Iterable[NDArray[np.float32]],
    *,
    balances: Sequence[float] = BALANCES,
    weight_range: WeightRange = largest_weights,
    on_step: Callable[[int], None] = lambda done: None,
) -> tuple[Trial, ...]:
    """Every group that could be evened out.

    Args:
        model: merged float network.
        placement: made for it.
        channel_ranges: value → float64 [C], largest magnitude to represent in each channel.
        ranges: tie group → range of its tensors as they are.
        batches: float32 [B, 3, H, W].
        balances: to try.
        weight_range: how the weights will be rounded.
        on_step: told how many batches are done.
    """
    values = values_by_name(model.graph.graph)
    readers: list[_Reader] = []
    multiplies: dict[str, bool] = {}
    for group in takers(values, placement):
        points = placement.groups[group]
        tensors = originals(points, values)
        if not spread(tensors, channel_ranges):
            continue  # all dead
        of_group = {point.value: point.consumers for point in points}
        multiplies[group] = not all(costs_nothing(x, of_group[str(x.name)]) for x in tensors)
        readers += _readers(
            group, points, values, placement, ranges[group], channel_ranges, balances, weight_range
        )
    _run(model, readers, batches, on_step)
    return tuple(
        _trial(group, [r for r in readers if r.group == group], balances, more)
        for group, more in multiplies.items()
    )


def _readers(
    group: str,
    points: Sequence[QuantPoint],
    values: Mapping[str, ir.Value],
    placement: Placement,
    plain: Range,
    channel_ranges: Mapping[str, Factors],
    balances: Sequence[float],
    weight_range: WeightRange,
) -> "list[_Reader]":
    layers = {layer.node: layer for layer in placement.layers if layer.int8}
    grid, tensors = points[0].grid, originals(points, values)
    as_it_is = max(plain.highest, -plain.lowest if grid.signed else 0.0)
    evened = max(float(channel_ranges[str(x.name)].max()) for x in tensors)
    known = [channel_factors(tensors, channel_ranges, balance) for balance in balances]
    found = []
    for point in points:
        value = values[point.value]
        ones = np.ones(len(through(value, known[0])))
        forms = [(ones, as_it_is), *((through(value, factors), evened) for factors in known)]
        found += [
            _Reader(group, point.value, node, layers[str(node.name)], grid, forms, weight_range)
            for node in value.consumers()
            if node.name in point.consumers and node.name in layers
        ]
    return found


class _Reader:
    """An INT8 layer with its weights rounded in every form; adds up squares in float64."""

    def __init__(
        self,
        group: str,
        value: str,
        node: ir.Node,
        layer: Layer,
        grid: Grid,
        forms: Sequence[tuple[Factors, float]],
        weight_range: WeightRange,
    ) -> None:
        weight = array_of(node.inputs[1])
        if weight is None:
            raise AssertionError(f"weights of {node.name} are not stored")
        self.group, self.value = group, value
        self._operator = TABLE[node.op_type]
        self._attributes = {key: x.value for key, x in node.attributes.items()}
        self._grid, self._weight = grid, torch.from_numpy(weight.copy())
        self._forms = []
        for factor, end in forms:
            scaled = scaled_inputs(node, weight.astype(np.float64), factor).astype(np.float32)
            scale = scale_from_range(weight_range(scaled, layer.axis, layer.weights), layer.weights)
            wide = scale_for(scaled, scale, layer.axis)
            rounded = quantize(scaled, wide, layer.weights) * wide
            step = scale_from_range(np.asarray(end, np.float64), grid)
            inverse = (1 / factor).astype(np.float32).reshape(1, -1, 1, 1)
            self._forms.append(
                (torch.from_numpy(inverse), torch.from_numpy(step), torch.from_numpy(rounded))
            )
        self.signal, self.errors = 0.0, np.zeros(len(forms))

    def add(self, x: Tensor) -> None:
        """One batch of the float network's own input of this layer."""
        wanted = self._operator(x, self._weight, **self._attributes)
        self.signal += float(wanted.double().square().sum())
        for i, (inverse, step, weight) in enumerate(self._forms):
            rounded = quantize(x * inverse, step, self._grid) * step
            found = self._operator(rounded, weight, **self._attributes)
            self.errors[i] += float((found - wanted).double().square().sum())


def _run(
    model: FloatModel,
    readers: "Sequence[_Reader]",
    batches: Iterable[NDArray[np.float32]],
    on_step: Callable[[int], None],
) -> None:
    by_value: dict[str, list[_Reader]] = {}
    for reader in readers:
        by_value.setdefault(reader.value, []).append(reader)
    feed = str(model.graph.graph.inputs[0].name)
    program = compile_slice(model.graph.graph, [feed])
    params = parameters(program)

    def look(name: str, tensor: Tensor) -> Tensor:
        for reader in by_value.get(name, ()):
            reader.add(tensor)
        return tensor

    with torch.inference_mode(), exact_float32():
        for done, batch in enumerate(batches, 1):
            execute(program, {feed: torch.from_numpy(batch)}, params, tap=look)
            on_step(done)


def _trial(
    group: str, readers: "Sequence[_Reader]", balances: Sequence[float], multiplies: bool
) -> Trial:
    # A layer whose output is zero tells nothing.
    relative = [reader.errors / reader.signal for reader in readers if reader.signal > 0]
    errors = np.sum(relative, axis=0) if relative else np.zeros(len(balances) + 1)
    gains = [
        10 * math.log10(errors[0] / error) if error > 0 and errors[0] > 0 else 0.0
        for error in errors[1:]
    ]
    return Trial(group, dict(zip(balances, gains, strict=True)), multiplies)
