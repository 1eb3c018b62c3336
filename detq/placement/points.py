"""Which tensors are rounded, and which must share a scale.

The rules are TensorRT's for explicit Q/DQ (its developer guide, "Working with quantized
types"): one Q per tensor, in front of what computes in integers; operators that only copy
numbers keep one scale on all their tensors, so that they run on the integers.
"""

from collections.abc import Collection, Iterable, Mapping

import onnx_ir as ir

from detq.plan import Layer

# Operators that copy numbers, nearest Resize beside them: what they join shares one scale.
COPYING = ("Concat", "MaxPool")

_KEEPS_SIGN = (
    "AveragePool", "Concat", "GlobalAveragePool", "Identity", "MaxPool", "Reshape", "Resize",
    "Slice", "Split", "Transpose",
)  # fmt: skip
_NOT_NEGATIVE = ("HardSigmoid", "Relu", "Sigmoid", "Softmax")
_ACTIVATIONS = ("Relu", "LeakyRelu", "HardSwish", "Clip", "Sigmoid", "Mul")


def rounded_inputs(layers: Iterable[Layer], graph: ir.Graph) -> dict[ir.Value, set[ir.Node]]:
    """Inputs of the INT8 layers → the layers that read them."""
    int8 = {layer.node for layer in layers if layer.int8}
    found: dict[ir.Value, set[ir.Node]] = {}
    for node in graph:
        if node.name in int8 and node.inputs[0] is not None:
            found.setdefault(node.inputs[0], set()).add(node)
    return found


def spread_over_copies(points: dict[ir.Value, set[ir.Node]]) -> list[set[ir.Value]]:
    """Round what is copied into a rounded tensor as well; return who must share a scale.

    ``points`` grows by the inputs of copying operators, transitively: pools in a chain,
    concatenations of concatenations.
    """
    ties: list[set[ir.Value]] = []
    waiting = list(points)
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if node is None or not copies(node):
            continue
        inputs = _data_inputs(node)
        ties.append({value, *inputs})
        for x in inputs:
            if x not in points:
                points[x] = set()
                waiting.append(x)
            points[x].add(node)
    return ties


def copies(node: ir.Node) -> bool:
    """Whether the operator moves numbers without changing them."""
    if node.op_type == "Resize":
        mode = node.attributes.get("mode")
        return mode is None or mode.value == "nearest"
    return node.op_type in COPYING


def _data_inputs(node: ir.Node) -> list[ir.Value]:
    inputs = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    return [x for x in inputs if x is not None and x.const_value is None]


def skip_inputs(graph: ir.Graph, int8: Collection[str]) -> list[tuple[ir.Value, ir.Node]]:
    """The skip side of every residual Add, with the node that reads it.

    The other side comes from the last INT8 layer of the main way, which adds the skip in
    its own epilogue and must not be rounded before.
    """
    position = {node: i for i, node in enumerate(graph)}
    found = []
    for node in graph:
        sides = [x for x in node.inputs if x is not None and x.const_value is None]
        if node.op_type != "Add" or len(set(sides)) != 2 or _is_split(sides):
            continue
        behind = {x: _layer_behind(x) for x in sides}
        ends = {x: end for x, end in behind.items() if end is not None and end.name in int8}
        if not ends:
            continue
        main = max(ends, key=lambda x: position[ends[x]])
        skip = sides[0] if main is sides[1] else sides[1]
        found.append(_before_scalar(skip, node))
    return found


def _is_split(sides: list[ir.Value]) -> bool:
    """Two convolutions of one tensor: parts of one layer, added before any rounding."""
    makers = [x.producer() for x in sides]
    sources = {m.inputs[0] for m in makers if m is not None and m.op_type == "Conv"}
    return len(sources) == 1 and all(m is not None and m.op_type == "Conv" for m in makers)


def _layer_behind(value: ir.Value) -> ir.Node | None:
    """The convolution that makes a value, activation in between allowed."""
    node = value.producer()
    while node is not None and node.op_type in _ACTIVATIONS:
        ways = [x for x in node.inputs if x is not None and x.const_value is None]
        node = ways[0].producer() if ways else None
    return node if node is not None and node.op_type == "Conv" else None


def _before_scalar(value: ir.Value, reader: ir.Node) -> tuple[ir.Value, ir.Node]:
    """The tensor behind a multiplication by one learned number, as BottleRep's alpha."""
    node = value.producer()
    if node is None or node.op_type != "Mul":
        return value, reader
    tensors = [x for x in node.inputs if x is not None and x.const_value is None]
    return (tensors[0], node) if len(tensors) == 1 else (value, reader)


def is_never_negative(value: ir.Value, known: dict[ir.Value, bool]) -> bool:
    """Whether the graph alone shows that no element is below zero.

    Args:
        value: any value; graph inputs are images and count as not negative.
        known: answers found so far, filled on the way.
    """
    if value in known:
        return known[value]
    node = value.producer()
    if node is None:
        answer = value.is_graph_input()
    elif node.op_type in _NOT_NEGATIVE:
        answer = True
    elif node.op_type == "Clip":
        low = node.inputs[1] if len(node.inputs) > 1 else None
        answer = bool(
            low is not None and low.const_value is not None and low.const_value.numpy() >= 0
        )
    elif node.op_type in _KEEPS_SIGN:
        answer = all(is_never_negative(x, known) for x in _data_inputs_of(node))
    elif node.op_type in ("Add", "Mul"):
        answer = all(
            is_never_negative(x, known)
            if x.const_value is None
            else bool((x.const_value.numpy() >= 0).all())
            for x in node.inputs
            if x is not None
        )
    else:
        answer = False
    known[value] = answer
    return answer


def _data_inputs_of(node: ir.Node) -> list[ir.Value]:
    return [x for x in node.inputs[: None if node.op_type == "Concat" else 1] if x is not None]


def tie(values: Iterable[ir.Value], ties: Iterable[set[ir.Value]]) -> Mapping[ir.Value, ir.Value]:
    """Union-find: every value → the first member of its tie group.

    Args:
        values: in the order of the graph.
        ties: sets of values that share a scale; sets that overlap become one.
    """
    order = {value: i for i, value in enumerate(values)}
    head = {value: value for value in order}

    def find(value: ir.Value) -> ir.Value:
        while head[value] is not value:
            head[value] = head[head[value]]
            value = head[value]
        return value

    for members in ties:
        heads = sorted((find(value) for value in members), key=order.__getitem__)
        for other in heads[1:]:
            head[other] = heads[0]
    return {value: find(value) for value in order}
