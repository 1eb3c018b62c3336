"""Where tensors meet: residual sums and concatenations."""

from collections.abc import Iterator

import onnx_ir as ir

from detq.graph.qdq import DQ, Q
from detq.graph.stored import array_of
from detq_deploy.lint.findings import Fault
from detq_deploy.lint.subject import (
    ACTIVATIONS,
    SHAPING,
    Subject,
    computed,
    label,
    maker,
    pair_at,
    readers,
    scales_at,
)

_EQUAL = 1e-6  # relative: scales that differ by the last bit of float32
_EPILOGUE = (*ACTIVATIONS, "BatchNormalization", "Mul")


def residuals(subject: Subject) -> Iterator[Fault]:
    """Sums with an INT8 layer on one side and Q/DQ on both sides, on none, or on the wrong one."""
    position = {node: i for i, node in enumerate(subject.graph)}
    for node in subject.nodes("Add"):
        sides = computed(node)
        if len(sides) != 2 or node not in subject.body:
            continue
        layers = {side: _layer_behind(side) for side in sides}
        if not any(made in subject.int8_nodes for made in layers.values()):
            continue
        if _same_source(list(layers.values())):
            continue  # two convolutions of one tensor: one layer in parts
        rounded = [side for side in sides if _rounded(side)]
        if len(rounded) == 2:
            yield node, "both sides are quantized"
        elif not rounded:
            yield node, "no side is quantized"
        else:
            int8 = {s: made for s, made in layers.items() if made in subject.int8_nodes and made}
            main = max(int8, key=lambda side: position[int8[side]])
            if rounded[0] is main:
                yield node, f"the side of {label(int8[main])} is quantized, not the skip"


def concat_scales(subject: Subject) -> Iterator[Fault]:
    """Concatenations whose quantized sides and output do not share one scale."""
    for node in subject.nodes("Concat"):
        sides = computed(node)
        parts = [scales for side in sides if (scales := scales_at(side))]
        known = {scale for scales in parts for scale in scales}
        if not known:
            continue
        after = _scales_behind(node)
        known |= after
        if max(known) - min(known) > _EQUAL * max(known):
            yield node, f"scales from {min(known):.3g} to {max(known):.3g}"
        elif len(parts) < len(sides) and not after:  # a Q behind moves in front of each side
            yield node, f"{len(parts)} of {len(sides)} sides are quantized"


def boxes_and_scores(subject: Subject) -> Iterator[Fault]:
    """One scale for boxes in pixels and scores below 1."""
    for node in subject.nodes("Concat"):
        if node in subject.body:
            continue
        sides = computed(node)
        scores = [side for side in sides if _is_score(side)]
        if not scores or len(scores) == len(sides):
            continue
        q = next((q for q in readers(node.outputs[0]) if q.op_type == Q), None)
        scales = {scales_at(side) for side in sides}
        if q is not None:
            yield q, f"rounds boxes and scores of {label(node)} together"
        elif len(scales) == 1 and () not in scales:
            yield node, "boxes and scores share one scale"


def _scales_behind(node: ir.Node) -> set[float]:
    found = (array_of(q.inputs[1]) for q in readers(node.outputs[0]) if q.op_type == Q)
    return {float(scale.reshape(-1)[0]) for scale in found if scale is not None and scale.size}


def _layer_behind(value: ir.Value) -> ir.Node | None:
    return maker(value, Q, DQ, *_EPILOGUE)


def _same_source(layers: list[ir.Node | None]) -> bool:
    if any(node is None or node.op_type != "Conv" for node in layers):
        return False
    return len({node.inputs[0] for node in layers if node is not None}) == 1


def _rounded(side: ir.Value) -> bool:
    """Whether a side comes out of a pair, a learned factor in between."""
    if pair_at(side) is not None:
        return True
    node = maker(side)
    if node is None or node.op_type != "Mul":
        return False
    factors = computed(node)
    return len(factors) == 1 and pair_at(factors[0]) is not None


def _is_score(value: ir.Value) -> bool:
    made = maker(value, Q, DQ, "Concat", *SHAPING)
    return made is not None and made.op_type in ("Sigmoid", "Softmax")
