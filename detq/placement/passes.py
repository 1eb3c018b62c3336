"""The steps of placement: each takes a draft and gives one with more in it.

A pass that has nothing to add gives the draft back as it is, so that any can be run again.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TypeAlias

import onnx_ir as ir

from detq.errors import RecipeError
from detq.graph.slices import values_by_name
from detq.placement import points as rules
from detq.placement.kernels import rounded_outputs, with_own_scales, without_idle
from detq.placement.layers import decide_layers
from detq.plan import Layer
from detq.target import Target

Readers: TypeAlias = Mapping[ir.Value, frozenset[ir.Node]]
Tie: TypeAlias = frozenset[ir.Value]


@dataclass(frozen=True)
class Draft:
    """A placement under way.

    Attributes:
        graph: float and merged; nobody changes it.
        target: consumer of the file.
        float_layers: pattern of layer names → reason to leave them float.
        cut_ties: patterns of tensor names that get a scale of their own.
        layers: every layer with weights.
        points: rounded tensors → who reads them rounded.
        reasons: rounded tensors → the rule that put the point there.
        ties: tensors that share a scale.
    """

    graph: ir.Graph
    target: Target
    float_layers: Mapping[str, str] = field(default_factory=dict)
    cut_ties: tuple[str, ...] = ()
    layers: tuple[Layer, ...] = ()
    points: Readers = field(default_factory=dict)
    reasons: Mapping[ir.Value, str] = field(default_factory=dict)
    ties: tuple[Tie, ...] = ()

    @property
    def int8(self) -> frozenset[str]:
        """Names of the INT8 layers."""
        return frozenset(layer.node for layer in self.layers if layer.int8)

    @property
    def heads(self) -> Mapping[ir.Value, ir.Value]:
        """Rounded tensors, in the order of the graph → the first of their tie group."""
        order = [value for value in values_by_name(self.graph).values() if value in self.points]
        return rules.tie(order, [set(tie) for tie in self.ties])

    @property
    def unsigned(self) -> frozenset[ir.Value]:
        """First members of the groups that cannot be negative."""
        known: dict[ir.Value, bool] = {}
        heads = self.heads
        signed = {h for value, h in heads.items() if not rules.is_never_negative(value, known)}
        return frozenset(heads.values()) - signed


Pass: TypeAlias = Callable[[Draft], Draft]


def decide_every_layer(draft: Draft) -> Draft:
    """INT8 or not, and why, for every layer with weights."""
    return replace(draft, layers=decide_layers(draft.graph, draft.float_layers, draft.target))


def leave_idle_layers_float(draft: Draft) -> Draft:
    """Layers that a CPU engine runs no faster in INT8."""
    return replace(draft, layers=without_idle(draft.graph, draft.layers, draft.target))


def round_inputs(draft: Draft) -> Draft:
    """The input of every INT8 layer, once for all of them."""
    return _with_points(
        draft, rules.rounded_inputs(draft.layers, draft.graph), "input of an INT8 layer"
    )


def round_skips(draft: Draft) -> Draft:
    """The skip side of every residual Add, in front of a learned factor on it."""
    found = rules.skip_inputs(draft.graph, draft.int8)
    for value, reader in found:
        draft = _with_points(draft, {value: {reader}}, "skip side of a residual Add")
    return draft


def round_copies(draft: Draft) -> Draft:
    """What Concat, MaxPool and nearest Resize copy into a rounded tensor; they tie scales."""
    points = {value: set(readers) for value, readers in draft.points.items()}
    ties = [frozenset(tie) for tie in rules.spread_over_copies(points)]
    draft = _with_points(draft, points, "copied into a rounded tensor")
    return replace(draft, ties=tuple(dict.fromkeys([*draft.ties, *ties])))


def cut_ties(draft: Draft) -> Draft:
    """Give the tensors that the recipe names a scale of their own.

    Raises:
        RecipeError: a pattern matches no tensor that shares its scale.
    """
    tied = {str(value.name): value for tie in draft.ties for value in tie if len(tie) > 1}
    cut = set()
    for pattern in draft.cut_ties:
        found = {value for name, value in tied.items() if _is_called(name, pattern)}
        if not found:
            raise RecipeError(
                f"pattern {pattern!r} matches no tensor that shares its scale",
                where="$.cut_ties",
                hint="detq quantize --explain lists the tie groups",
            )
        cut |= found
    return replace(draft, ties=_without(draft.ties, cut)) if cut else draft


def _is_called(name: str, pattern: str) -> bool:
    """An evened-out tensor answers to the name of the one in front of its factor, too."""
    return fnmatchcase(name, pattern) or fnmatchcase(name.removesuffix(".even"), pattern)


def round_outputs(draft: Draft) -> Draft:
    """What INT8 layers give, where a CPU engine asks for it."""
    if draft.target.kernels is None or not draft.target.kernels.rounded_outputs:
        return draft
    return _with_points(draft, rounded_outputs(draft.graph, draft.int8), "output of an INT8 layer")


def free_unsigned_from_signed(draft: Draft) -> Draft:
    """Own scales inside a Concat, where a CPU engine rescales what it joins."""
    if draft.target.kernels is None or not draft.target.kernels.own_scales:
        return draft
    heads, unsigned = draft.heads, draft.unsigned
    signed = {value for value, head in heads.items() if head not in unsigned}
    freed = with_own_scales([set(tie) for tie in draft.ties], signed)
    return replace(draft, ties=tuple(frozenset(tie) for tie in freed))


PASSES: tuple[Pass, ...] = (
    decide_every_layer,
    leave_idle_layers_float,
    round_inputs,
    round_skips,
    round_copies,
    cut_ties,
    round_outputs,
    free_unsigned_from_signed,
)
"""In this order."""


def _with_points(draft: Draft, found: Mapping[ir.Value, Iterable[ir.Node]], reason: str) -> Draft:
    points, reasons = dict(draft.points), dict(draft.reasons)
    for value, readers in found.items():
        points[value] = points.get(value, frozenset()) | frozenset(readers)
        reasons.setdefault(value, reason)
    return replace(draft, points=points, reasons=reasons)


def _without(ties: Iterable[Tie], cut: set[ir.Value]) -> tuple[Tie, ...]:
    left = (tie - cut for tie in ties)
    return tuple(tie for tie in left if tie)
