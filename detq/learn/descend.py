"""One unit by gradient: Adam, rates that fall to zero as a cosine, the better of start and end."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detq.graph.execute import Program, execute
from detq.learn.cut import Cut, Params
from detq.learn.objective import Objective
from detq.learn.state import State
from detq.learn.trainables import Trainable


@dataclass(frozen=True)
class Way:
    """From the values at the cut to the loss of a unit.

    Attributes:
        cut: of the quantized graph.
        program: the unit's slice.
        rest: from the unit to the ends of its stage.
        rest_params: of the graph that ``rest`` was cut from; None for the quantized one's.
        objective: what counts.
    """

    cut: Cut
    program: Program
    rest: Program
    rest_params: Params | None
    objective: Objective

    def loss(self, rows: slice | Tensor, params: Params) -> Tensor:
        """On some images."""
        made = execute(self.program, self.cut.feeds(self.program, rows), params)
        ends: Params = {}
        if self.objective.stage:
            feeds = self.cut.feeds(self.rest, rows, made)
            ends = execute(self.rest, feeds, self.rest_params or params)
        return self.objective(rows, made, ends)

    def loss_on_all(self, params: Params) -> float:
        """On all images."""
        total = 0.0
        for rows in self.cut.batches():
            with torch.no_grad():
                total += float(self.loss(rows, params)) * (rows.stop - rows.start)
        return total / self.cut.store.count


def descend(
    way: Way,
    state: State,
    trainables: Sequence[Trainable],
    *,
    steps: int,
    batch: int,
    generator: torch.Generator,
    on_step: Callable[[int], None],
) -> tuple[float, float]:
    """Learn a unit's parameters; ``state`` keeps its own if they are no better on all images.

    Returns:
        The loss before and after.
    """
    before = way.loss_on_all(state.params)
    leaves = [leaf for one in trainables for leaf in one.leaves]
    if not leaves:
        return before, before
    optimizer = torch.optim.Adam([{"params": [leaf], "lr": rate} for leaf, rate in leaves])
    rates = [rate for _, rate in leaves]
    minibatches = _minibatches(way.cut.store.count, batch, generator)
    for step in range(steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        loss = _loss(way, state, trainables, next(minibatches), step / steps, before)
        torch.autograd.backward(loss)
        optimizer.step()
        on_step(step + 1)
    kept = dict(state.params), set(state.learned)
    for one in trainables:
        state.put(one.hard(state))
    after = way.loss_on_all(state.params)
    if after < before:
        return before, after
    state.params, state.learned = kept
    return before, before


def _loss(
    way: Way,
    state: State,
    trainables: Sequence[Trainable],
    rows: Tensor,
    progress: float,
    before: float,
) -> Tensor:
    params = dict(state.params)
    for one in trainables:
        params.update(one.soft())
    loss = way.loss(rows, params)
    for one in trainables:
        penalty = one.penalty(progress)
        if penalty is not None:
            loss = loss + before * penalty  # as much as the whole loss, if all were undecided
    return loss


def _minibatches(count: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Every image once before any comes again; all at once where there are fewer than a batch."""
    size = min(batch, count)
    while True:
        order = torch.randperm(count, generator=generator)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]
