"""What sharing a scale costs the members of a tie group."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from detq.numerics import Grid
from detq.placement.points import copies
from detq.plan import Placement, QuantPoint
from detq.stats import CalibrationStats, Range, TensorStats

STRONGLY = 4.0  # two bits of eight


@dataclass(frozen=True, slots=True)
class UnevenTie:
    """A member of a tie group whose own range is far smaller than the group's.

    Attributes:
        group: name of the tie group.
        value: the tensor.
        highest: largest magnitude that its own range would have.
        highest_of_group: largest magnitude of the shared range.
        bits_lost: log2 of their ratio: what the tensor has fewer than alone.
        readers: INT8 layers that read it with those bits less. Where there are none, only
            copies read it, and a scale of its own would give nothing back.
    """

    group: str
    value: str
    highest: float
    highest_of_group: float
    bits_lost: float
    readers: tuple[str, ...]


def uneven_ties(
    graph: ir.Graph,
    placement: Placement,
    stats: CalibrationStats,
    ranges: Mapping[str, Range],
    estimate: Callable[[TensorStats, Grid], Range],
    least: float = STRONGLY,
) -> tuple[UnevenTie, ...]:
    """Members whose range is at most 1/``least`` of their group's, in the order of the graph.

    Args:
        graph: the one that ``placement`` was made for.
        placement: from ``place``.
        stats: of all its points.
        ranges: tie group → the shared range.
        estimate: how a range follows from statistics.
        least: ratio from which a member is told.
    """
    copying = {str(node.name) for node in graph if copies(node)}
    found = []
    for point in placement.points:
        if len(placement.groups[point.group]) < 2:
            continue
        shared = _highest(ranges[point.group], point)
        own = _highest(estimate(stats.tensors[point.value], point.grid), point)
        if 0 < own * least <= shared:
            readers = tuple(name for name in point.consumers if name not in copying)
            lost = math.log2(shared / own)
            found.append(UnevenTie(point.group, point.value, own, shared, lost, readers))
    return tuple(found)


def _highest(found: Range, point: QuantPoint) -> float:
    return max(found.highest, -found.lowest) if point.grid.signed else found.highest
