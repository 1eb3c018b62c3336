"""A float16 body, typed as a strongly typed TensorRT network takes it.

Every node computes in one type. A Q reads the type of what made its tensor, a DQ gives the
type of its reader: between INT8 layers there is no cast. Where types meet otherwise, one
Cast stands behind the tensor.

Float32 stays what float16 would spoil: decoding and boxes, numbers outside its range, and
layers whose scales it cannot hold (its smallest normal number is 6.1e-5).
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from detq.graph.build import DECODE, STAGE
from detq.graph.qdq import DQ, Q
from detq.graph.stored import array_of, store

FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
SMALLEST_SCALE = float(np.finfo(np.float16).smallest_normal)
LARGEST = float(np.finfo(np.float16).max)

# Inputs that have a type of their own, by ONNX's definitions.
_OWN_TYPE: Mapping[str, frozenset[int]] = {"Cast": frozenset({0}), "Resize": frozenset({1, 2})}
_ALWAYS_FLOAT = frozenset({"Cast", "NonMaxSuppression", "Range"})
# What an engine computes with the convolution in front of it.
_EPILOGUE = frozenset({"Clip", "HardSigmoid", "HardSwish", "LeakyRelu", "Mul", "Relu", "Sigmoid"})

Types = dict[ir.Node, ir.DataType]


def half_body(model: ir.Model) -> None:
    """Compute in float16 between float32 inputs and outputs.

    Args:
        model: float32, opset 19 or later where it has Q/DQ; changed. Left alone where it
            computes in float16 already.
    """
    graph = model.graph
    if any(y.dtype == HALF for node in graph for y in node.outputs):
        return
    types = _types(graph)
    _type_pairs(graph, types)
    for value in list(graph.initializers.values()):
        _convert_stored(graph, value, types)
    for node in [node for node in graph if types.get(node) == HALF]:
        for y in node.outputs:
            if y.dtype == FLOAT:
                y.type = ir.TensorType(HALF)  # types are shared between values
    for value in [*graph.inputs, *(y for node in graph for y in node.outputs)]:
        _cast_where_types_meet(graph, value, types)


def _types(graph: ir.Graph) -> Types:
    """The type each node computes in; nodes of integers have none."""
    found: Types = {}
    for node in graph:
        if node.op_type not in (Q, DQ) and any(y.dtype == FLOAT for y in node.outputs):
            found[node] = FLOAT if _is_spoilt(node) or _follows(node, found) else HALF
    return found


def _is_spoilt(node: ir.Node) -> bool:
    """Whether float16 cannot hold what it reads or makes."""
    if node.op_type in _ALWAYS_FLOAT or node.metadata_props.get(STAGE) == DECODE:
        return True
    rounded = (dq.outputs[0] for y in node.outputs for q in _readers(y, Q) for dq in _dqs(q))
    read = [x for x in node.inputs if x is not None]
    return any(_is_too_large(x) for x in read) or any(_is_too_small(x) for x in (*read, *rounded))


def _is_too_large(value: ir.Value) -> bool:
    numbers = array_of(value) if value.dtype == FLOAT else None
    return numbers is not None and bool((np.abs(numbers) > LARGEST).any())


def _is_too_small(value: ir.Value) -> bool:
    """Whether it comes out of a DQ with a scale that float16 cannot hold."""
    dq = value.producer()
    scale = array_of(dq.inputs[1]) if dq is not None and dq.op_type == DQ else None
    return scale is not None and bool((scale < SMALLEST_SCALE).any())


def _follows(node: ir.Node, types: Types) -> bool:
    """Whether it only goes on with what a float32 layer has made."""
    makers = [x.producer() for x in node.inputs if x is not None and x.const_value is None]
    return node.op_type in _EPILOGUE and all(
        maker is not None
        and types.get(maker) == FLOAT
        and maker.metadata_props.get(STAGE) != DECODE
        for maker in makers
    )


def _readers(value: ir.Value, kind: str) -> list[ir.Node]:
    return [node for node, _ in value.uses() if node.op_type == kind]


def _dqs(q: ir.Node) -> list[ir.Node]:
    return _readers(q.outputs[0], DQ)


def _type_pairs(graph: ir.Graph, types: Types) -> None:
    """A Q has its tensor's type, a DQ its reader's; one with readers of both is doubled."""
    for node in [node for node in graph if node.op_type in (Q, DQ)]:
        if node.op_type == Q:
            maker = None if node.inputs[0] is None else node.inputs[0].producer()
            types[node] = FLOAT if maker is None else types.get(maker, FLOAT)
            continue
        value = node.outputs[0]
        wide = [(user, i) for user, i in value.uses() if types.get(user, HALF) == FLOAT]
        types[node] = FLOAT if value.is_graph_output() or len(wide) == len(value.uses()) else HALF
        if wide and types[node] == HALF:
            copy = _copy(node)
            types[copy] = FLOAT
            graph.insert_after(node, copy)
            for user, index in wide:
                user.replace_input_with(index, copy.outputs[0])


def _copy(dq: ir.Node) -> ir.Node:
    copy = ir.Node("", DQ, dq.inputs, list(dq.attributes.values()), name=f"{dq.name}.float32")
    copy.metadata_props.update(dq.metadata_props)
    copy.outputs[0].name = copy.name
    copy.outputs[0].shape, copy.outputs[0].type = dq.outputs[0].shape, dq.outputs[0].type
    return copy


def _convert_stored(graph: ir.Graph, value: ir.Value, types: Types) -> None:
    """Store numbers in the type of their readers, twice where there are readers of both."""
    numbers = array_of(value)
    if numbers is None or value.dtype != FLOAT:
        return
    half = [(node, i) for node, i in value.uses() if _reads_as(node, i, types) == HALF]
    if not half:
        return
    narrow = numbers.astype(np.float16)
    if len(half) < len(value.uses()):
        copy = store(graph, f"{value.name}.float16", narrow)
        for node, index in half:
            node.replace_input_with(index, copy)
        if all(node.op_type in (Q, DQ) for node, _ in half):  # one number in both types
            value.const_value = ir.tensor(narrow.astype(np.float32), name=value.name)
        return
    value.const_value, value.type = ir.tensor(narrow, name=value.name), ir.TensorType(HALF)


def _reads_as(node: ir.Node, index: int, types: Types) -> ir.DataType:
    return FLOAT if index in _OWN_TYPE.get(node.op_type, ()) else types.get(node, FLOAT)


def _cast_where_types_meet(graph: ir.Graph, value: ir.Value, types: Types) -> None:
    """One Cast behind a tensor for all readers of the other type."""
    if value.dtype not in (FLOAT, HALF):
        return
    other = FLOAT if value.dtype == HALF else HALF
    readers = [
        (node, index)
        for node, index in value.uses()
        if node.op_type != "Cast" and _reads_as(node, index, types) == other
    ]
    ends = [i for i, y in enumerate(graph.outputs) if y is value and other == FLOAT]
    if not readers and not ends:
        return
    cast = _cast(graph, value, other)
    for node, index in readers:
        node.replace_input_with(index, cast)
    for index in ends:
        graph.outputs[index] = cast
        value.name, cast.name = cast.name, value.name


def _cast(graph: ir.Graph, value: ir.Value, kind: ir.DataType) -> ir.Value:
    maker = value.producer()
    name = f"{value.name}.{'float16' if kind == HALF else 'float32'}"
    cast = ir.Node("", "Cast", [value], [ir.AttrInt64("to", kind.value)], name=name)
    cast.outputs[0].name = name
    cast.outputs[0].shape, cast.outputs[0].type = value.shape, ir.TensorType(kind)
    if maker is None:
        graph.insert_before(graph[0], cast)
    else:
        if STAGE in maker.metadata_props:
            cast.metadata_props[STAGE] = maker.metadata_props[STAGE]
        graph.insert_after(maker, cast)
    return cast.outputs[0]
