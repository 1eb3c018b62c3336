"""Normalization behind a transposed convolution, folded into it in float64.

With ``t = gain / sqrt(variance + eps)``, per output channel::

    BN(W * x + b) = (t W) * x + t (b - mean) + shift
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from detq.errors import NotEquivalentError
from detq.graph.stored import store

Float64 = NDArray[np.float64]

TOLERANCE = 1e-10  # of the largest output, in float64
_SIZE = 6  # rows and columns of the checked input


def fold_into_transposed(graph: ir.Graph) -> None:
    """Fold every normalization whose input only a transposed convolution makes.

    Args:
        graph: changed.

    Raises:
        NotEquivalentError: a folded layer computes something else.
    """
    for norm in [node for node in graph if node.op_type == "BatchNormalization"]:
        conv = None if norm.inputs[0] is None else norm.inputs[0].producer()
        if conv is not None and conv.op_type == "ConvTranspose" and _is_constant(conv, norm):
            _fold(graph, conv, norm)


def _is_constant(conv: ir.Node, norm: ir.Node) -> bool:
    made = conv.outputs[0]
    stored = all(
        x is None or x.const_value is not None for x in (*conv.inputs[1:], *norm.inputs[1:])
    )
    return stored and len(made.uses()) == 1 and not made.is_graph_output()


def _fold(graph: ir.Graph, conv: ir.Node, norm: ir.Node) -> None:
    weight, *rest = (_array(x) for x in conv.inputs[1:] if x is not None)
    gain, shift, mean, variance = (_array(x) for x in norm.inputs[1:5] if x is not None)
    t = gain / np.sqrt(variance + norm.attributes.get_float("epsilon", 1e-5))
    bias = rest[0] if rest else np.zeros_like(t)
    groups = conv.attributes.get_int("group", 1)
    # [in, out / groups, kh, kw]: a group of inputs makes a group of outputs.
    per_input = np.repeat(t.reshape(groups, -1), len(weight) // groups, axis=0)
    folded = weight * per_input[:, :, None, None]
    folded_bias = t * (bias - mean) + shift
    _check(graph, conv, norm, folded, folded_bias)
    conv.resize_inputs(3)
    for index, part, array in ((1, "weight", folded), (2, "bias", folded_bias)):
        value = store(graph, f"{conv.name}.{part}.folded", array.astype(np.float32))
        conv.replace_input_with(index, value)
    old, made = norm.outputs[0], conv.outputs[0]
    if old.is_graph_output():
        made.name = old.name
    old.replace_all_uses_with(made, replace_graph_outputs=True)
    graph.remove(norm, safe=True)


def _check(graph: ir.Graph, conv: ir.Node, norm: ir.Node, weight: Float64, bias: Float64) -> None:
    import torch

    from detq.graph.execute import compile_slice, execute, parameters

    source, made = str(conv.inputs[0].name), str(conv.outputs[0].name)  # type: ignore[union-attr]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, len(weight), _SIZE, _SIZE, dtype=torch.float64, generator=generator)
    program = compile_slice(graph, [source], [str(norm.outputs[0].name)])
    alone = compile_slice(graph, [source], [made])
    with torch.inference_mode():
        known = parameters(alone, dtype=torch.float64)
        (before,) = execute(program, {source: x}, parameters(program, dtype=torch.float64)).values()
        known[str(conv.inputs[1].name)] = torch.from_numpy(weight)  # type: ignore[union-attr]
        without = [str(x.name) for x in conv.inputs[2:] if x is not None]
        known.update((name, torch.zeros(len(bias), dtype=torch.float64)) for name in without)
        after = execute(alone, {source: x}, known)[made] + torch.from_numpy(bias)[:, None, None]
    difference, largest = float((before - after).abs().max()), float(before.abs().max())
    if not difference <= TOLERANCE * largest:
        raise NotEquivalentError(
            f"fold_bn changed the output by {difference:.3g} at a largest value of {largest:.3g}",
            where=str(conv.name),
            hint="leave fold_bn out of the recipe's transforms and report the model",
        )


def _array(value: ir.Value) -> Float64:
    assert value.const_value is not None
    return np.asarray(value.const_value.numpy(), np.float64)
