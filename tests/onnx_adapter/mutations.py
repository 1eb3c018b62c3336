"""Damaged ONNX files: bytes, and fields of a file that still parses."""

import random
from collections.abc import Callable

import onnx
from onnx import AttributeProto, ModelProto

EXTREMES = (0, 1, -1, 2, 3, 7, -7, 2**31 - 1, 2**31, -(2**31), 2**62, -(2**63), 10**9, 65536)


def mutated(content: bytes, seed: int) -> bytes:
    """The same file for the same seed."""
    rng = random.Random(seed)
    if rng.random() < 0.4:
        return rng.choice((_flip, _truncate, _insert, _repeat))(content, rng)
    proto = ModelProto.FromString(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        rng.choice(FIELDS)(proto, rng)
    return proto.SerializeToString()


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 4, 40))):
        # Half of them in the first part, where the graph is and not the weights.
        end = len(changed) if rng.random() < 0.5 else min(len(changed), 20_000)
        changed[rng.randrange(end)] = rng.randrange(256)
    return bytes(changed)


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _insert(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + rng.randbytes(rng.choice((1, 8, 100))) + content[place:]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content + content[start : start + rng.randrange(5000)]


def _op_type(proto: ModelProto, rng: random.Random) -> None:
    names = [schema.name for schema in onnx.defs.get_all_schemas()]
    rng.choice(proto.graph.node).op_type = rng.choice(names)


def _swap_op_types(proto: ModelProto, rng: random.Random) -> None:
    a, b = rng.choice(proto.graph.node), rng.choice(proto.graph.node)
    a.op_type, b.op_type = b.op_type, a.op_type


def _wire(proto: ModelProto, rng: random.Random) -> None:
    nodes = proto.graph.node
    names = [name for node in nodes for name in (*node.input, *node.output)] + [""]
    node = rng.choice(nodes)
    side = node.input if rng.random() < 0.8 else node.output
    if side:
        side[rng.randrange(len(side))] = rng.choice(names)


def _drop_node(proto: ModelProto, rng: random.Random) -> None:
    del proto.graph.node[rng.randrange(len(proto.graph.node))]


def _double_node(proto: ModelProto, rng: random.Random) -> None:
    proto.graph.node.append(rng.choice(proto.graph.node))


def _attribute(proto: ModelProto, rng: random.Random) -> None:
    attributes = [a for node in proto.graph.node for a in node.attribute]
    found = rng.choice(attributes)
    if found.type == AttributeProto.INT:
        found.i = rng.choice(EXTREMES)
    elif found.type == AttributeProto.INTS and found.ints:
        found.ints[rng.randrange(len(found.ints))] = rng.choice(EXTREMES)
    elif found.type == AttributeProto.FLOAT:
        found.f = rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e38))
    elif found.type == AttributeProto.TENSOR:
        _damage_tensor(found.t, rng)
    else:
        found.s = rng.randbytes(5)


def _initializer(proto: ModelProto, rng: random.Random) -> None:
    small = [x for x in proto.graph.initializer if x.data_type == onnx.TensorProto.INT64]
    chosen = small if small and rng.random() < 0.6 else list(proto.graph.initializer)
    if chosen:
        _damage_tensor(rng.choice(chosen), rng)


def _damage_tensor(tensor: onnx.TensorProto, rng: random.Random) -> None:
    way = rng.randrange(5)
    if way == 0 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(EXTREMES)
    elif way == 1:
        tensor.raw_data = tensor.raw_data[: len(tensor.raw_data) // 2]
    elif way == 2:
        tensor.data_type = rng.randrange(30)
    elif way == 3:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=rng.choice(("../x", "/etc/passwd", "x")))
    elif tensor.data_type == onnx.TensorProto.INT64 and len(tensor.raw_data) >= 8:
        place = 8 * rng.randrange(len(tensor.raw_data) // 8)
        number = rng.choice(EXTREMES).to_bytes(8, "little", signed=True)
        tensor.raw_data = tensor.raw_data[:place] + number + tensor.raw_data[place + 8 :]


def _input(proto: ModelProto, rng: random.Random) -> None:
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    if dims:
        rng.choice(dims).dim_value = rng.choice((*EXTREMES, 32, 8192, 4096))


def _versions(proto: ModelProto, rng: random.Random) -> None:
    if rng.random() < 0.5:
        proto.opset_import[0].version = rng.choice((*range(26), *EXTREMES))
    else:
        proto.ir_version = rng.choice((*range(14), 2**62))


def _metadata(proto: ModelProto, rng: random.Random) -> None:
    key = rng.choice(("names", "imgsz", "stride", "task", "description", "detq.detector"))
    value = rng.choice(("", "{0: 'a'", "[" * 5000, "-" * 9000 + "1", "{0: 1}", "[1e9]", "\0" * 9,
                        "{'a': {'b': 3}}", "()", "[640, 640]", "[0, -1]", "{}"))  # fmt: skip
    proto.metadata_props.add(key=key, value=value)


def _output(proto: ModelProto, rng: random.Random) -> None:
    names = [name for node in proto.graph.node for name in node.output if name]
    rng.choice(proto.graph.output).name = rng.choice(names)


Field = Callable[[ModelProto, random.Random], None]
FIELDS: tuple[Field, ...] = (
    _op_type, _swap_op_types, _wire, _wire, _drop_node, _double_node, _attribute, _attribute,
    _initializer, _initializer, _input, _versions, _metadata, _output,
)  # fmt: skip
