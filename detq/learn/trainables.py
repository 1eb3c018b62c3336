"""What a gradient may change: leaves, and the parameters of the graph that follow from them.

Rates are shares of a step of the grid, so that they mean the same at 8 bits and at 4.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from detq.learn.int8_layers import Int8Layer, Part
from detq.learn.rounding import (
    hard_codes,
    near,
    position_from,
    rectified_sigmoid,
    regularizer,
    start_at,
)
from detq.learn.state import State, activation_scale, affine
from detq.learn.straight_through import straight_through
from detq.numerics import quantize

RATE = 0.25  # steps of the grid that a gain, a shift or a scale moves at a time, at most
INTEGERS_RATE = 0.05  # integers that the position of a weight moves at a time, at most
ROUNDING_WAY = 10.0  # that the argument of the sigmoid can go in all steps together, at most

Found = Mapping[str, Tensor]


@dataclass(frozen=True)
class Trainable:
    """Parameters of one kind at one place.

    Attributes:
        leaves: what is changed, each with its learning rate.
        soft: parameters of the graph that gradients flow through.
        hard: parameters as they can be stored; those of the trainables before are in the state.
        penalty: added to the loss, 0 to 1 of the way; None for nothing.
    """

    leaves: tuple[tuple[Tensor, float], ...]
    soft: Callable[[], Found]
    hard: Callable[[State], Found]
    penalty: Callable[[float], Tensor | None] = lambda progress: None


def learned_scale(state: State, name: str, highest: int) -> Trainable:
    """The scale of a tie group, as its logarithm.

    Args:
        state: holds the scale.
        name: of the scale.
        highest: integer of the grid.
    """
    start = state.params[name]
    log = torch.zeros_like(start, requires_grad=True)

    def soft() -> Found:
        return activation_scale(state, name, start * log.exp())

    return Trainable(((log, RATE / highest),), soft, lambda state: soft())


def learned_affine(
    state: State, layer: Int8Layer, spread: Tensor, *, gain: bool, shift: bool
) -> Trainable:
    """Gain and shift behind a layer.

    Args:
        state: holds the layer.
        layer: one of the state's.
        spread: [channels], the unit in which the shift is learned.
        gain: whether it may change.
        shift: whether it may change.
    """
    factor = torch.zeros_like(spread if layer.per_channel else spread[:1], requires_grad=gain)
    offset = torch.zeros_like(spread, requires_grad=shift)
    rate = RATE / layer.parts[0].grid.highest
    params = state.params

    def soft() -> Found:
        found: dict[str, Tensor] = {}
        for i, part in enumerate(layer.parts):
            scale = params[part.scale]
            found[part.scale] = scale * (1 + factor).reshape(scale.shape)
            if part.bias is not None:
                own = offset * spread if i == 0 else 0.0
                found[part.bias] = params[part.bias] * (1 + factor) + own
        return found

    def hard(state: State) -> Found:
        return affine(state, layer, (1 + factor).detach(), (offset * spread).detach())

    leaves = tuple((leaf, rate) for leaf in (factor, offset) if leaf.requires_grad)
    return Trainable(leaves, soft, hard)


def learned_integers(state: State, part: Part, weights: Tensor) -> Trainable:
    """The integers of a convolution, by straight-through gradients of where the weights lie.

    Args:
        state: holds the codes.
        part: the convolution.
        weights: float, as they were before rounding.
    """
    codes, grid = state.params[part.codes], part.grid
    position = near(codes, position_from(codes, weights, part.axis))
    moved = torch.zeros_like(position, requires_grad=True)

    def integers() -> Tensor:
        return quantize((position + moved).detach(), torch.ones_like(position), grid)

    def soft() -> Found:
        exact = (position + moved).clamp(grid.lowest, grid.highest)
        return {part.codes: straight_through(exact, integers())}

    return Trainable(
        ((moved, INTEGERS_RATE),), soft, lambda state: {part.codes: integers().to(torch.int8)}
    )


def learned_rounding(state: State, part: Part, weights: Tensor, *, steps: int) -> Trainable:
    """Up or down for every weight of a convolution (AdaRound).

    Args:
        state: holds the codes.
        part: the convolution.
        weights: float, as they were before rounding.
        steps: there will be.
    """
    codes, grid = state.params[part.codes], part.grid
    low, v = start_at(codes, position_from(codes, weights, part.axis))
    v.requires_grad_(True)

    def soft() -> Found:
        return {part.codes: (low + rectified_sigmoid(v)).clamp(grid.lowest, grid.highest)}

    return Trainable(
        ((v, ROUNDING_WAY / steps),),
        soft,
        lambda state: {part.codes: hard_codes(low, v, grid)},
        lambda progress: regularizer(v, progress),
    )
