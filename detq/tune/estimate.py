"""The noise that each layer and tie group adds at the head: all of them from one pass.

Let J be the Jacobian of what decoding reads (the head, h) with respect to some value y of the
float network, δ the difference that rounding makes there, and w the weight of an element of h:
one over the signal's power of its output. To first order the head's noise is Σ w (J δ)². With a
random vector r of independent elements ±√w,

    E (rᵀJ δ)² = Σ w (J δ)²

(Hutchinson's estimator), and Jᵀr of every value comes from one backward pass. One r per image
and the mean over the images give a relative standard deviation of √(2 / images), 0.8 dB for 64.

Leaving one layer float in the fully quantized network takes its J δ out of the whole error e:

    Σ w (e - J δ)² = Σ w e² - 2 (w e)ᵀJ δ + Σ w (J δ)²

for which a second backward pass gives Jᵀ(w e).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from detq.graph.execute import Program, exact_float32, execute
from detq.graph.slices import values_by_name
from detq.numerics import quantize
from detq.placement.points import copies
from detq.plan import QuantPoint
from detq.quantized import scales_of
from detq.tune.mixed import SEPARATE, Choice, Mixed
from detq.tune.probes import Seen, head_weight, per_image, random_signs
from detq.tune.records import GroupSensitivity, LayerSensitivity

Scales = Mapping[str, Mapping[str, float]]  # tie group → range method → scale

_SILENT = 1e-30  # power of a signal that is not there
_MOST_GAINED = 100  # times; near there the estimate is a difference of equals


@dataclass
class _Sums:
    """Over images: powers, and noise at the head."""

    signal: float = 0.0
    noise: float = 0.0
    passed: float = 0.0
    without: float = 0.0
    by_method: dict[str, float] = field(default_factory=dict)

    @property
    def own(self) -> float:
        return self.noise / max(self.signal, _SILENT)


@dataclass(frozen=True)
class Estimates:
    """What one pass over the images shows.

    Attributes:
        images: seen.
        head: noise with everything INT8, run and not estimated.
        layers: in the order of the graph.
        groups: in the order of the graph.
    """

    images: int
    head: float
    layers: tuple[LayerSensitivity, ...]
    groups: tuple[GroupSensitivity, ...]


def estimate(
    mixed: Mixed,
    quantized_scales: Mapping[str, float],
    batches: Iterable[NDArray[np.float32]],
    methods: Scales | None = None,
    *,
    seed: int = 0,
    on_step: Callable[[int], None] = lambda images: None,
) -> Estimates:
    """Look at every layer and tie group of a quantized network.

    Args:
        mixed: the network in both forms.
        quantized_scales: rounded tensor → its scale in the file.
        batches: float32 [B, 3, H, W]; one image at a time needs least memory.
        methods: other scales of tie groups to look at.
        seed: of the random vectors.
        on_step: told how many images are done.
    """
    looking = _Looking(mixed, quantized_scales, methods or {})
    random = torch.Generator().manual_seed(seed)
    images, head = 0, 0.0
    with exact_float32():
        for batch in batches:
            feed = torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)
            head += looking.add(feed, random)
            images += len(batch)
            on_step(images)
    mean = head / max(images, 1)
    return Estimates(images, mean, looking.layers(images, mean), looking.groups(images))


def scales_in(quantized: ir.Model) -> Mapping[str, float]:
    """Rounded tensor → its scale in a Q/DQ file."""
    return {name: float(scale) for name, scale in scales_of(quantized).items()}


class _Looking:
    def __init__(self, mixed: Mixed, scales: Mapping[str, float], methods: Scales) -> None:
        self._mixed, self._scales, self._methods = mixed, scales, methods
        self._inputs = {layer.node: mixed.input_of(layer.node) for layer in mixed.layers}
        self._outputs = {layer.node: mixed.output_of(layer.node) for layer in mixed.layers}
        self._points = {name: _rounded_first(mixed, name) for name in mixed.placement.groups}
        self._layer_sums = {layer.node: _Sums() for layer in mixed.layers}
        self._group_sums = {name: _Sums() for name in self._points}
        heads = list(mixed.heads)
        self._float = mixed.program(Choice(), heads, apart=True)
        self._int8 = mixed.program(mixed.everything, heads)
        self._alone = {layer: self._slice(layer, mixed.alone(layer)) for layer in self._inputs}
        self._as_float = {layer: self._slice(layer, Choice()) for layer in self._inputs}

    def _slice(self, layer: str, choice: Choice) -> Program:
        return self._mixed.program(choice, [self._outputs[layer]], [self._inputs[layer]])

    def add(self, feed: Tensor, random: torch.Generator) -> float:
        """One batch; the noise at the head with everything INT8, summed over its images."""
        probed = {*self._outputs.values()}
        probed |= {f"{p.value}{SEPARATE}" for members in self._points.values() for p in members}
        seen = Seen({*self._inputs.values(), *probed}, probed)
        with torch.enable_grad():
            heads = execute(self._float, {self._mixed.feed: feed}, self._mixed.params, tap=seen)
        rounded = Seen({*self._inputs.values(), *self._outputs.values()}, frozenset())
        with torch.inference_mode():
            int8 = execute(self._int8, {self._mixed.feed: feed}, self._mixed.params, tap=rounded)
            weights = {name: head_weight(head, len(heads)) for name, head in heads.items()}
            error = {name: int8[name] - head for name, head in heads.items()}
            noises = [per_image(weights[name] * e, e) for name, e in error.items()]
            total = torch.stack(noises).sum(0)
            signs = {n: random_signs(head, random) * weights[n].sqrt() for n, head in heads.items()}
            wrong = {name: weights[name] * e for name, e in error.items()}
        by_signs = seen.gradients(heads, signs, again=True)
        by_error = seen.gradients(heads, wrong)
        with torch.inference_mode():
            for layer in self._inputs:
                self._add_layer(layer, seen.values, rounded.values, by_signs, by_error, total)
            for group, members in self._points.items():
                self._add_group(group, members, seen.values, by_signs)
        return float(total.sum())

    def _add_layer(
        self,
        layer: str,
        as_float: Mapping[str, Tensor],
        as_int8: Mapping[str, Tensor],
        by_signs: Mapping[str, Tensor],
        by_error: Mapping[str, Tensor],
        total: Tensor,
    ) -> None:
        sums = self._layer_sums[layer]
        read, made = self._inputs[layer], self._outputs[layer]
        run, gradient = self._mixed.run, by_signs[made]
        alone = run(self._alone[layer], {read: as_float[read]})[made] - as_float[made]
        kept = run(self._as_float[layer], {read: as_int8[read]})[made]
        among = as_int8[made] - kept
        sums.signal += float(as_float[made].square().sum())
        sums.noise += float(alone.square().sum())
        sums.passed += float(per_image(gradient, alone).square().sum())
        back = 2 * per_image(by_error[made], among) - per_image(gradient, among).square()
        sums.without += float((total - back).sum())

    def _add_group(
        self,
        group: str,
        members: tuple[QuantPoint, ...],
        as_float: Mapping[str, Tensor],
        by_signs: Mapping[str, Tensor],
    ) -> None:
        sums = self._group_sums[group]
        for method, scale in self._methods.get(group, {}).items():
            rounded = _Rounded(members, as_float, by_signs, dict.fromkeys(self._scales, scale))
            sums.by_method[method] = sums.by_method.get(method, 0.0) + rounded.passed
        rounded = _Rounded(members, as_float, by_signs, self._scales)
        sums.passed += rounded.passed
        sums.signal += rounded.signal
        sums.noise += rounded.noise

    def layers(self, images: int, head: float) -> tuple[LayerSensitivity, ...]:
        """Means over the images; ``head`` is the noise with everything INT8."""
        count = max(images, 1)
        return tuple(
            LayerSensitivity(
                node=layer.node,
                operator=layer.operator,
                own=sums.own,
                passed=sums.passed / count,
                without=max(sums.without / count, head / _MOST_GAINED),
            )
            for layer in self._mixed.layers
            for sums in [self._layer_sums[layer.node]]
        )

    def groups(self, images: int) -> tuple[GroupSensitivity, ...]:
        """Means over the images."""
        count = max(images, 1)
        return tuple(
            GroupSensitivity(
                group=name,
                members=len(self._mixed.placement.groups[name]),
                own=sums.own,
                passed=sums.passed / count,
                by_method={method: x / count for method, x in sums.by_method.items()},
            )
            for name, sums in self._group_sums.items()
        )


class _Rounded:
    """The tensors of a tie group with one scale, on some images."""

    def __init__(
        self,
        members: tuple[QuantPoint, ...],
        values: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        scales: Mapping[str, float],
    ) -> None:
        self.signal = self.noise = 0.0
        at_head = torch.zeros(())
        for point in members:
            name = f"{point.value}{SEPARATE}"
            x = values[name]
            scale = torch.tensor(scales[point.value], dtype=x.dtype)
            noise = quantize(x, scale, point.grid) * scale - x
            at_head = at_head + per_image(gradients[name], noise)
            self.signal += float(x.square().sum())
            self.noise += float(noise.square().sum())
        self.passed = float(at_head.square().sum())


def _rounded_first(mixed: Mixed, group: str) -> tuple[QuantPoint, ...]:
    """Members of a tie group that are not copies of rounded members: those are on the grid."""
    points = mixed.placement.groups[group]
    members = {point.value for point in points}
    read = {source for _, source in mixed.everything.edges}
    known = values_by_name(mixed.model.graph.graph)
    found = []
    for point in points:
        node = known[point.value].producer()
        copied = node is not None and copies(node)
        inputs = [str(x.name) for x in node.inputs if x is not None] if node is not None else []
        if point.value in read and not (copied and members & set(inputs)):
            found.append(point)
    return tuple(found)
