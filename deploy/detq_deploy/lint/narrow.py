"""INT8 layers that gain nothing from it."""

from collections.abc import Iterator

import onnx_ir as ir

from detq_deploy.lint.findings import Fault
from detq_deploy.lint.subject import Subject

_FULL = 16  # channels that fill a tensor core's tile
_STEP = 8


def narrow_layers(subject: Subject) -> Iterator[Fault]:
    """Convolutions too narrow, or split in too many groups, for tensor cores."""
    if not subject.target.tensor_cores:
        return
    first = next((layer.node for layer in subject.layers), None)
    for layer in subject.layers:
        if layer.node.op_type != "Conv" or not layer.int8 or layer.weights is None:
            continue
        shape = layer.weights.stored.shape
        dims = [] if shape is None else [n for n in shape if isinstance(n, int)]
        if len(dims) == 4 and _is_narrow(layer.node, dims, is_first=layer.node is first):
            groups = layer.node.attributes.get_int("group", 1)
            parts = f" in {groups} groups" if groups > 1 else ""
            yield layer.node, f"{dims[1] * groups} channels to {dims[0]}{parts}"


def quantized_decode(subject: Subject) -> Iterator[Fault]:
    """Roundings behind the last layer: boxes, scores, distributions."""
    for q in subject.activation_quantizers():
        if q not in subject.body and q.inputs[0] is not None:
            yield q, f"rounds {q.inputs[0].name}, which no layer reads any more"


def _is_narrow(node: ir.Node, dims: list[int], *, is_first: bool) -> bool:
    outputs, inputs, *kernel = dims
    if node.attributes.get_int("group", 1) > 1:
        return outputs % _STEP != 0 or min(kernel) < 3
    if min(outputs, inputs) >= _FULL:
        return False
    aligned = outputs % _STEP == 0 or inputs % _STEP == 0
    return not (aligned and (is_first or max(outputs, inputs) >= _FULL) and len(set(kernel)) == 1)
