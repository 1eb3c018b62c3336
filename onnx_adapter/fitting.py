"""What ONNX's inference lets pass, and no engine does."""

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from onnx_adapter.known import Known

Inputs = Sequence[Known | None]


def fits_before(node: ir.Node) -> bool:
    """Whether inference may be asked: it makes a list as long as ``num_outputs`` says."""
    return node.attributes.get_int("num_outputs", len(node.outputs)) == len(node.outputs)


def fits(node: ir.Node, inputs: Inputs, outputs: Sequence[Known]) -> bool:
    """Whether a node's numbers fit each other, as far as they are known."""
    check = _CHECKS.get(node.op_type)
    return check is None or check(node, inputs, outputs)


def _keeps_the_count(node: ir.Node, inputs: Inputs, outputs: Sequence[Known]) -> bool:
    counts = {x.size for x in (*inputs[:1], *outputs) if x is not None} - {None}
    return len(counts) < 2


def _fits_weights(node: ir.Node, inputs: Inputs, outputs: Sequence[Known]) -> bool:
    x, weight = (None if given is None else given.shape for given in inputs[:2])
    if x is None or weight is None or min(len(x), len(weight)) < 2:
        return True
    channels, (first, second) = x[1], weight[:2]
    groups = node.attributes.get_int("group", 1) or 0
    if groups < 1 or first is None or second is None or first % groups:
        return False
    read = first if node.op_type == "ConvTranspose" else second * groups
    return channels in (None, read)


_CHECKS: Mapping[str, Callable[[ir.Node, Inputs, Sequence[Known]], bool]] = {
    "Reshape": _keeps_the_count,
    "Conv": _fits_weights,
    "ConvTranspose": _fits_weights,
}
