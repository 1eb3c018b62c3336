"""Weights that fit their layers: what ONNX's own check leaves open where weights are inputs."""

from collections.abc import Callable, Iterator, Mapping

import onnx_ir as ir

Dims = tuple[int | None, ...]


def misfits(graph: ir.Graph) -> Iterator[str]:
    """Names of the convolutions and normalizations whose weights do not fit in or output."""
    for node in graph:
        fits = LAYERS.get(node.op_type)
        if fits is not None and not fits(node):
            yield str(node.name)


def _convolution(node: ir.Node) -> bool:
    weight, groups = _shape(node, 1), _groups(node)
    if len(weight) != 4 or groups is None:
        return False
    outputs, inputs = weight[0], (weight[1] or 0) * groups
    return _kernel(node, weight) and _channels(node, inputs, outputs)


def _transposed(node: ir.Node) -> bool:
    weight, groups = _shape(node, 1), _groups(node)
    if len(weight) != 4 or groups is None:
        return False
    inputs, outputs = weight[0], (weight[1] or 0) * groups
    return _kernel(node, weight) and _channels(node, inputs, outputs)


def _normalization(node: ir.Node) -> bool:
    return {_shape(node, i) for i in (1, 2, 3, 4)} == {_shape(node, 0)[1:2]}


def _channels(node: ir.Node, inputs: int | None, outputs: int | None) -> bool:
    bias = _shape(node, 2) if len(node.inputs) > 2 and node.inputs[2] is not None else (outputs,)
    found = (_shape(node, 0)[1:2], _dims(node.outputs[0])[1:2], bias)
    return found == ((inputs,), (outputs,), (outputs,))


def _kernel(node: ir.Node, weight: Dims) -> bool:
    given = node.attributes.get("kernel_shape")
    return given is None or tuple(given.as_ints()) == weight[2:]


def _groups(node: ir.Node) -> int | None:
    given = node.attributes.get("group")
    groups = 1 if given is None else given.as_int()
    outputs = _dims(node.outputs[0])[1:2]
    return groups if groups > 0 and outputs[:1] and (outputs[0] or 0) % groups == 0 else None


def _shape(node: ir.Node, index: int) -> Dims:
    value = node.inputs[index]
    return () if value is None else _dims(value)


def _dims(value: ir.Value) -> Dims:
    return tuple(n if isinstance(n, int) else None for n in value.shape or ())


LAYERS: Mapping[str, Callable[[ir.Node], bool]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "BatchNormalization": _normalization,
}
