"""What a CPU engine's INT8 kernels ask of a placement, and which layers gain nothing by them.

Rounding a tensor and reading it back costs a CPU as much time as some dozen products per
number, so a layer becomes INT8 only where it does more than that. ``deploy/README.md`` has
the measurements behind the numbers.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from math import prod

import onnx_ir as ir

from detq.placement.layers import WEIGHTED
from detq.placement.points import copies, is_never_negative
from detq.plan import Layer
from detq.target import Kernels, Target

# Fewest products per number where it is rounded before its activation and again behind it.
ROUNDED_TWICE = 256

IDLE = "no faster in"  # begins the reason of every layer that gains nothing
_ANY = Target("any", engine="any", kernels=Kernels(least_products=0, rounded_outputs=True))
_NOT_ABSORBED = ("HardSigmoid", "HardSwish", "LeakyRelu", "Mul", "Sigmoid", "Tanh")


def without_idle(graph: ir.Graph, layers: Iterable[Layer], target: Target) -> tuple[Layer, ...]:
    """Leave those INT8 layers float that the target runs no faster in INT8.

    Args:
        graph: float and merged.
        layers: in the order of the graph, from ``decide_layers``.
        target: unchanged layers come back where it has no ``kernels``.
    """
    given = {layer.node: layer for layer in layers}
    if target.kernels is None:
        return tuple(given.values())
    chosen = dict(given)
    nodes = {str(node.name): node for node in graph}
    for name, layer in chosen.items():
        reason = _reason(nodes[name], target.kernels) if layer.int8 else None
        if reason is not None:
            chosen[name] = _in_float(layer, reason, target)
    if target.kernels.rounded_outputs:
        chosen |= {name: given[name] for name in _between_rounded(nodes, chosen)}
        for name, reader in _in_front_of_float(nodes, chosen).items():
            reason = f"it would round {reader} behind it too, which stays float"
            chosen[name] = replace(chosen[name], int8=False, reason=f"{target.engine}: {reason}")
    int8 = {name for name, layer in chosen.items() if layer.int8}
    for name in int8:
        if _reads_images(nodes[name]) and not _feeds(nodes[name], int8):
            reason = "it reads the images, and no INT8 layer reads what it makes of them"
            chosen[name] = _in_float(chosen[name], reason, target)
    return tuple(chosen.values())


def _between_rounded(nodes: Mapping[str, ir.Node], layers: Mapping[str, Layer]) -> set[str]:
    """Idle layers whose input and output are rounded for others all the same.

    ONNX Runtime rounds the weights of such a layer by itself.
    """
    int8 = {name for name, layer in layers.items() if layer.int8}
    idle = {name for name, layer in layers.items() if layer.reason.startswith(IDLE)}
    found: set[str] = set()
    while True:
        more = {n for n in idle - found if _is_between_rounded(n, nodes, int8 | found)}
        if not more:
            return found
        found |= more


def _in_front_of_float(nodes: Mapping[str, ir.Node], layers: Mapping[str, Layer]) -> dict[str, str]:
    """INT8 layers → a layer chosen to be float that reads what they give.

    ONNX Runtime would round the weights of that one; only unrounded input keeps it from it.
    """
    int8 = {name for name, layer in layers.items() if layer.int8}
    found: dict[str, str] = {}
    for name, layer in layers.items():
        if not layer.int8 and _is_between_rounded(name, nodes, int8):
            read = nodes[name].inputs[0]
            found |= {n: name for n in int8 if _behind_relu(nodes[n].outputs[0]) is read}
    return found


def _is_between_rounded(name: str, nodes: Mapping[str, ir.Node], int8: Collection[str]) -> bool:
    node = nodes[name]
    return (
        node.op_type == "Conv"
        and any(node.inputs[0] is _behind_relu(nodes[n].outputs[0]) for n in int8)
        and not _rounds_twice(node.outputs[0])
        and _is_read_rounded(_behind_relu(node.outputs[0]), int8)
    )


def _is_read_rounded(value: ir.Value, int8: Collection[str]) -> bool:
    return any(
        reader.name in int8 or (copies(reader) and _is_read_rounded(reader.outputs[0], int8))
        for reader in value.consumers()
    )


def _in_float(layer: Layer, reason: str, target: Target) -> Layer:
    return replace(layer, int8=False, reason=f"{IDLE} {target.engine}: {reason}")


def _reason(node: ir.Node, kernels: Kernels) -> str | None:
    if node.op_type != "Conv":
        return None
    products = _products(node)
    if _pixels(node) == 1:
        return "its output is one pixel, so that reading the weights is all the work"
    if products < kernels.least_products:
        return f"{products} products per number, rounding pays from {kernels.least_products}"
    if kernels.rounded_outputs and products < ROUNDED_TWICE and _rounds_twice(node.outputs[0]):
        return (
            f"{products} products per number, rounding before and behind the activation pays "
            f"from {ROUNDED_TWICE}"
        )
    return None


def _products(node: ir.Node) -> int:
    weight = node.inputs[1]
    if weight is None or weight.shape is None:
        raise AssertionError(f"weights of {node.name} have no shape")
    return prod(int(n) for n in weight.shape.numpy()[1:])


def _pixels(node: ir.Node) -> int | None:
    shape = node.outputs[0].shape
    sides = () if shape is None else tuple(shape)[2:]
    known = [n for n in sides if isinstance(n, int)]
    return prod(known) if known and len(known) == len(sides) else None


def _reads_images(node: ir.Node) -> bool:
    return node.inputs[0] is not None and node.inputs[0].is_graph_input()


def _feeds(node: ir.Node, int8: Collection[str]) -> bool:
    """Whether an INT8 layer reads what ``node`` gives, with no other layer between."""
    waiting, seen = list(node.outputs), set()
    while waiting:
        for reader in waiting.pop().consumers():
            if reader.name in int8:
                return True
            if reader.op_type not in WEIGHTED and reader not in seen:
                seen.add(reader)
                waiting += reader.outputs
    return False


def _rounds_twice(value: ir.Value) -> bool:
    """Whether an activation that no kernel absorbs follows, which works on floats."""
    return any(reader.op_type in _NOT_ABSORBED for reader in value.consumers())


def rounded_outputs(graph: ir.Graph, int8: Collection[str]) -> dict[ir.Value, set[ir.Node]]:
    """What the INT8 layers give, behind their ReLU where they have one → all its readers."""
    made = (_behind_relu(node.outputs[0]) for node in graph if node.name in int8)
    return {value: set(value.consumers()) for value in made if not value.is_graph_output()}


def _behind_relu(value: ir.Value) -> ir.Value:
    readers = value.consumers()
    if len(readers) != 1 or value.is_graph_output():
        return value
    relu = readers[0].op_type == "Relu"
    clip = readers[0].op_type == "Clip" and is_never_negative(readers[0].outputs[0], {})
    return readers[0].outputs[0] if relu or clip else value


def outputs_of_any_target(graph: ir.Graph, layers: Iterable[Layer]) -> Iterable[ir.Value]:
    """Every value that ``rounded_outputs`` can name, for whichever target."""
    chosen = without_idle(graph, layers, _ANY)
    return rounded_outputs(graph, {layer.node for layer in chosen if layer.int8})


def with_own_scales(
    ties: Iterable[set[ir.Value]], signed: Collection[ir.Value]
) -> list[set[ir.Value]]:
    """Free what cannot be negative from a Concat of signed tensors, which then rescales it.

    Only with zero point 0 does rounding take the place of a ReLU.

    Args:
        ties: from ``spread_over_copies``.
        signed: members of groups that are signed.
    """
    known: dict[ir.Value, bool] = {}
    return [
        {value for value in members if _is_joined(value) or not is_never_negative(value, known)}
        if any(_is_joined(value) and value in signed for value in members)
        else members
        for members in ties
    ]


def _is_joined(value: ir.Value) -> bool:
    node = value.producer()
    return node is not None and node.op_type == "Concat"
