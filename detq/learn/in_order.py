"""Closed-form corrections, layer by layer, each seeing what those before it have corrected."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from detq.learn.cut import Cut
from detq.learn.learned import Learned, Task, UnitLoss
from detq.learn.state import affine, state_of
from detq.learn.store import Store
from detq.learn.units import layer_units


@dataclass(frozen=True, slots=True)
class Moments:
    """Per channel over all images and places, float64 [channels].

    ``u`` is the quantized output of a layer, ``y`` the float one.
    """

    mean_u: Tensor
    mean_y: Tensor
    var_u: Tensor
    var_y: Tensor
    cov: Tensor

    def loss(self, gain: Tensor, shift: Tensor) -> float:
        """Squared error of ``gain u + shift`` for ``y``, mean over channels and places."""
        off = gain * self.mean_u + shift - self.mean_y
        spread = self.var_y - 2 * gain * self.cov + gain**2 * self.var_u
        return float((spread.clamp(min=0) + off**2).mean())


Fit = Callable[[Moments, bool], tuple[Tensor, Tensor]]


def correct_in_order(task: Task, fit: Fit) -> Learned:
    """Put ``gain u + shift`` behind every INT8 layer, in the order of the graph.

    One pass over the images through both graphs: each layer sees the inputs that the corrected
    layers before it give. (Correcting all layers for the inputs of the uncorrected network
    diverges.)

    Args:
        task: model, float model, images.
        fit: moments and whether the gain may differ per channel → gain and shift.
    """
    state = state_of(task.quantized)
    units = layer_units(task.floated, state.layers)
    floats, rounded = (
        Cut(graph, units, store, task.batch)
        for graph, store in zip(
            (task.floated.graph.graph, state.model.graph.graph), task.stores("cpu"), strict=True
        )
    )
    losses = []
    wanted_params = task.float_parameters("cpu")
    for i, (unit, layer) in enumerate(zip(units, state.layers, strict=True)):
        floats.advance(i, wanted_params)
        rounded.advance(i, state.params)
        seen = _moments(rounded.store, floats.store, unit.outputs[0], task.batch)
        one, none = torch.ones_like(seen.cov), torch.zeros_like(seen.cov)
        before = seen.loss(one, none)
        gain, shift = fit(seen, layer.per_channel)
        after = seen.loss(gain, shift)
        if after < before:
            state.put(affine(state, layer, gain if layer.per_channel else gain[:1], shift))
            _apply(rounded.store, unit.outputs[0], gain, shift, task.batch)
        losses.append(UnitLoss(unit.name, before, min(after, before)))
        for cut in (floats, rounded):
            cut.leave(i)
        task.on_step(i + 1, len(units))
    return Learned(state.result(), tuple(losses))


def _moments(rounded: Store, floats: Store, name: str, batch: int) -> Moments:
    total, sums = 0, torch.zeros(1)
    # Around the first image's means, so that large means do not eat the variances.
    base = [store.read(name, slice(0, 1)).mean((0, 2, 3)) for store in (rounded, floats)]
    for start in range(0, rounded.count, batch):
        rows = slice(start, start + batch)
        u, y = (
            store.read(name, rows) - middle[:, None, None]
            for store, middle in zip((rounded, floats), base, strict=True)
        )
        total += u.numel() // u.shape[1]
        sums = sums + torch.stack([_sum(x) for x in (u, y, u * u, y * y, u * y)])
    u, y, uu, yy, uy = sums / total
    return Moments(
        u + base[0],
        y + base[1],
        (uu - u * u).clamp(min=0),
        (yy - y * y).clamp(min=0),
        uy - u * y,
    )


def _sum(x: Tensor) -> Tensor:
    """[B, C, H, W] to [C], added up in float64."""
    return x.sum((0, 2, 3), dtype=torch.float64)


def _apply(store: Store, name: str, gain: Tensor, shift: Tensor, batch: int) -> None:
    for start in range(0, store.count, batch):
        u = store.read(name, slice(start, start + batch))
        y = u * gain.float()[:, None, None] + shift.float()[:, None, None]
        store.write(name, start, y)
