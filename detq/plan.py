"""Where a network is rounded, and why not elsewhere: the result of placement, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec

from detq.numerics import WEIGHTS, Grid

EVENED = ".even"  # ends the name of a tensor whose channels were brought to one range


@dataclass(frozen=True, slots=True)
class QuantPoint:
    """One tensor that is rounded.

    Attributes:
        value: its name in the float graph.
        consumers: names of the nodes that read the rounded tensor; others read the float.
        grid: the integers.
        group: name of the tie group, whose members share one scale.
        rule: which placement rule put the point here.
    """

    value: str
    consumers: tuple[str, ...]
    grid: Grid
    group: str
    rule: str


@dataclass(frozen=True, slots=True)
class Layer:
    """A node with weights: INT8, or float for a reason.

    Attributes:
        node: its name.
        operator: ONNX operator.
        int8: whether input and weights are rounded.
        reason: the rule, in words.
        weights: grid of the weights.
        axis: dimension of the weights that has a scale each; None for one scale in all.
    """

    node: str
    operator: str
    int8: bool
    reason: str
    weights: Grid = WEIGHTS
    axis: int | None = 0


@dataclass(frozen=True)
class Placement:
    """All points and an answer for every layer with weights."""

    points: tuple[QuantPoint, ...]
    layers: tuple[Layer, ...]

    @cached_property
    def groups(self) -> Mapping[str, tuple[QuantPoint, ...]]:
        """Tie group name → its members, in the order of the graph."""
        found: dict[str, list[QuantPoint]] = {}
        for point in self.points:
            found.setdefault(point.group, []).append(point)
        return {name: tuple(members) for name, members in found.items()}


def name_in_float(value: str) -> str:
    """What a tensor is called where no channels were evened out: recipes speak of it so."""
    return value.removesuffix(EVENED)


def placement_as_json(placement: Placement) -> bytes:
    """Readable JSON, the same bytes for the same placement."""
    return msgspec.json.format(msgspec.json.encode(placement), indent=1) + b"\n"


def placement_from_json(text: bytes) -> Placement:
    """What ``placement_as_json`` wrote."""
    return msgspec.json.decode(text, type=Placement)
