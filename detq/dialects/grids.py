"""Whether a quantized graph has the integers that a target computes with."""

import numpy as np
import onnx_ir as ir

from detq.errors import TargetError
from detq.graph.qdq import DQ, pair_behind, stored_behind
from detq.graph.stored import array_of
from detq.placement.layers import WEIGHTED
from detq.target import Target

SIGNED, UNSIGNED, SHIFTED = ("signed", 0), ("unsigned", 0), ("unsigned", 128)


def require_grids(model: ir.Model, target: Target) -> None:
    """Refuse a graph that was quantized for another grid.

    Args:
        model: Q/DQ graph.
        target: consumer it shall be written for.

    Raises:
        TargetError: with the tensor and the target's grid.
    """
    allowed = _allowed(target)
    found = {}
    for node in model.graph:
        pair = pair_behind(node.outputs[0])
        if pair is not None:
            found[str(pair.tensor.name)] = (_sign(pair.q), pair.zero_point)
    for tensor, grid in found.items():
        if grid not in allowed:
            _refuse(f"{tensor} has {_words(grid)} integers, {target.name} takes "
                    f"{' and '.join(_words(one) for one in sorted(allowed))}", target)  # fmt: skip
    unsigned = target.unsigned_activations and not target.shifted_activations
    if found and unsigned and UNSIGNED not in found.values():
        _refuse(f"all its integers are signed, {target.name} takes unsigned ones", target)
    _require_weights(model, target)


def _sign(q: ir.Node) -> str:
    """By ONNX's definition integers are unsigned where there is no zero point."""
    zero = array_of(q.inputs[2]) if len(q.inputs) > 2 else None
    return "signed" if zero is not None and zero.dtype == np.int8 else "unsigned"


def _allowed(target: Target) -> set[tuple[str, int]]:
    if not target.unsigned_activations:
        return {SIGNED}
    return {UNSIGNED, SHIFTED if target.shifted_activations else SIGNED}


def _require_weights(model: ir.Model, target: Target) -> None:
    for node in model.graph:
        stored = stored_behind(node.outputs[0]) if node.op_type == DQ else None
        if (
            stored is not None
            and int(abs(stored.integers.astype(int)).max()) > target.weights.highest
        ):
            _refuse(f"{stored.name} has integers beyond {target.weights.highest}", target)
    for node in model.graph:
        quantized = node.op_type in WEIGHTED and stored_behind(node.inputs[1]) is not None
        if quantized and node.op_type == "ConvTranspose" and target.transposed == "float":
            _refuse(f"{node.name} is INT8, {target.name} has no kernel for that", target)


def _refuse(what: str, target: Target) -> None:
    hint = f"quantize again: detq quantize ... --target {target.name}"
    raise TargetError(f"was quantized for another target: {what}", hint=hint)


def _words(grid: tuple[str, int]) -> str:
    kind, zero = grid
    return f"{kind} (zero point {zero})"
