"""How far a unit is from the float network: at its own outputs, and at those of its stage.

Across-block calibration (ABC, arXiv 2402.16121) for unit ``i`` of ``N`` in a stage::

    L_i = d(A_i, F_i) + weight (i / N) d(T_i(A_i), F_N)

with ``A_i`` the quantized and ``F_i`` the float output, ``T_i`` the rest of the stage and
``F_N`` the stage's float output. ``d`` is the mean absolute difference over the mean magnitude
of what is wanted, so that one weight serves every depth. The paper's abstract gives the
ingredients; the linear growth and the normalisation are a reconstruction.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from torch import Tensor

from detq.graph.build import DECODE, STAGE
from detq.graph.slices import values_by_name
from detq.learn.cut import Cut
from detq.learn.units import Unit
from detq.recipe import Metric, Scope

HUBER = 0.02  # of the mean magnitude: smaller differences count squared, larger ones as they are

Distance = Callable[[Tensor], Tensor]

# Difference in units of the wanted values' mean magnitude → what is averaged.
DISTANCES: Mapping[Metric, Distance] = {
    "mae": torch.abs,
    "mse": torch.square,
    "huber": lambda d: F.huber_loss(d, torch.zeros_like(d), reduction="none", delta=HUBER) / HUBER,
}


@dataclass(frozen=True)
class Objective:
    """The loss of one unit.

    Attributes:
        unit: its outputs and the ends of its stage.
        distance: of a normalised difference.
        block: weight of the unit's own outputs.
        stage: weight of the stage's outputs.
        norms: mean magnitude of every value, in the float network over all images.
        confidence: end → class logits of the same places, where those weigh them.
        floats: holds the wanted values.
    """

    unit: Unit
    distance: Distance
    block: float
    stage: float
    norms: Mapping[str, float]
    confidence: Mapping[str, str]
    floats: Cut

    def __call__(
        self, rows: slice | Tensor, made: Mapping[str, Tensor], ends: Mapping[str, Tensor]
    ) -> Tensor:
        """The loss on some images, from what the unit and the rest of its stage gave."""
        terms = []
        if self.block:
            terms.append(self.block * self._mean(rows, made, self.unit.outputs))
        if self.stage:
            terms.append(self.stage * self._mean(rows, ends, self.unit.ends))
        return torch.stack(terms).sum()

    def _mean(
        self, rows: slice | Tensor, found: Mapping[str, Tensor], names: tuple[str, ...]
    ) -> Tensor:
        return torch.stack([self._one(rows, name, found[name]) for name in names]).mean()

    def _one(self, rows: slice | Tensor, name: str, found: Tensor) -> Tensor:
        wanted = self.floats.store.read(name, rows)
        each = self.distance((found - wanted) / self.norms[name])
        if name not in self.confidence:
            return each.mean()
        logits = self.floats.store.read(self.confidence[name], rows)
        weight = logits.sigmoid().amax(1, keepdim=True)
        return (each * (weight / weight.mean())).mean()


def objective_for(
    unit: Unit,
    floats: Cut,
    *,
    metric: Metric,
    scope: Scope,
    stage_weight: float,
    classes: Mapping[str, str],
) -> Objective:
    """The loss of a unit whose float values are in the store.

    Args:
        unit: outside of a stage only its own outputs count.
        floats: holds the wanted values.
        metric: of the difference.
        scope: which of the two terms there are.
        stage_weight: of the second term at the last unit of a stage.
        classes: from ``class_logits``; empty to count all places alike.
    """
    stage = stage_weight * unit.depth if unit.ends and scope != "block" else 0.0
    names = (*unit.outputs, *(unit.ends if stage else ()))
    norms = {name: _mean_magnitude(floats, name) for name in names}
    weighed = {end: classes[end] for end in unit.ends if end in classes}
    block = 0.0 if stage and scope == "stage" else 1.0
    return Objective(unit, DISTANCES[metric], block, stage, norms, weighed, floats)


def class_logits(graph: ir.Graph, heads: tuple[str, ...]) -> dict[str, str]:
    """Head output → class logits of the same level, for every level that has one.

    Args:
        graph: float.
        heads: what decoding reads.
    """
    values = values_by_name(graph)
    logits = {_size(values[n]): n for n in heads if _becomes_a_score(values[n])}
    return {n: logits[_size(values[n])] for n in heads if _size(values[n]) in logits}


_MOVES = ("Concat", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose")


def _becomes_a_score(value: ir.Value) -> bool:
    waiting, seen = [value], {value}
    while waiting:
        for node in waiting.pop().consumers():
            if node.metadata_props.get(STAGE) == DECODE and node.op_type == "Sigmoid":
                return True
            if node.op_type in _MOVES:
                fresh = [x for x in node.outputs if x not in seen]
                seen.update(fresh)
                waiting += fresh
    return False


def _size(value: ir.Value) -> tuple[str, ...]:
    return () if value.shape is None else tuple(str(n) for n in value.shape[2:])


def _mean_magnitude(floats: Cut, name: str) -> float:
    sums: list[float] = [
        float(floats.store.read(name, rows).abs().mean()) * (rows.stop - rows.start)
        for rows in floats.batches()
    ]
    return max(sum(sums) / floats.store.count, 1e-12)
