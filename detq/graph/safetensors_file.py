"""A float graph as one safetensors file: its numbers as tensors, its structure as metadata.

The structure is an ONNX graph in which the float numbers are inputs, so that it is whole and
can be checked without them. Integers (shapes, axes) belong to the structure and stay in it.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from detq.errors import InputError
from detq.graph.layer_shapes import misfits
from detq.whole_file import told, written_whole

STRUCTURE = "detq.graph"  # the one entry: the order of several would change from run to run
ORDER = "detq.order"  # of the initializers, a letter each
FLOAT, OTHER = "f", "o"
NORMALIZATION = ("", "BatchNormalization", "")
LONGEST_HEADER = 100_000_000  # bytes; the format's own limit
# Beyond these, half precision would lose positions of cells and the like.
HALVED = frozenset({"Conv", "ConvTranspose", "BatchNormalization", "Gemm"})
HINT = "write it with: detq export CHECKPOINT --format safetensors"


def save_safetensors(model: ir.Model, path: Path, *, half: bool = False) -> None:
    """Write a graph and its weights; the same model gives the same bytes.

    Args:
        model: float32 graph.
        path: file to write.
        half: weights of layers as float16; those beyond its range stay float32.
    """
    from safetensors.numpy import save_file

    copy = model.clone()
    arrays: dict[str, NDArray[Any]] = {}
    initializers = copy.graph.initializers
    copy.metadata_props[ORDER] = "".join(_letter(value) for value in initializers.values())
    for name, value in list(initializers.items()):
        if _letter(value) == FLOAT and value.const_value is not None:
            array = value.const_value.numpy()
            arrays[name] = _halved(array) if half and _of_layer(value) else array.copy(order="C")
            del initializers[name]
            value.const_value = None
            copy.graph.inputs.append(value)
    structure = base64.b64encode(ir.to_proto(copy).SerializeToString(deterministic=True))
    with written_whole(path) as temporary:
        save_file(arrays, temporary, metadata={STRUCTURE: structure.decode()})


def load_safetensors(path: Path) -> ir.Model:
    """The graph that ``save_safetensors`` wrote; half precision becomes float32.

    Raises:
        InputError: there is no such file, it is damaged, or it holds weights alone.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError("no such file", where=str(path), hint="give a safetensors file")
    try:
        with told(path, "cannot be read"), safe_open(path, framework="np") as file:
            model = _structure(file.metadata() or {}, path)
            if wrong := next(misfits(model.graph), None):
                raise _damaged(path, f"weights of {wrong} do not fit it")
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
            weights = _weights(model.graph, kinds, path)
            for value in weights:
                _set(value, file.get_tensor(str(value.name)), path)
            _put_in_order(model, weights, path)
            _widen_epsilons(model.graph)
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    return model


def is_safetensors(start: bytes) -> bool:
    """Whether a file begins as a safetensors file does, by its first bytes (9 are enough)."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LONGEST_HEADER


def _of_layer(value: ir.Value) -> bool:
    return all(node.op_type in HALVED for node in value.consumers())


def _halved(array: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.isfinite(half).all() else array.copy(order="C")


def _structure(metadata: Mapping[str, str], path: Path) -> ir.Model:
    import onnx

    if STRUCTURE not in metadata:
        raise InputError(
            "holds weights without the structure of a network", where=str(path), hint=HINT
        )
    try:
        proto = onnx.ModelProto.FromString(base64.b64decode(metadata[STRUCTURE], validate=True))
        _check(proto)
        onnx.checker.check_model(proto, full_check=True)
        return ir.serde.deserialize_model(proto)
    except Exception as error:  # protobuf, onnx and onnx-ir raise classes of their own
        raise _damaged(path, str(error)) from error


def _check(proto: Any) -> None:
    """Refuse what no float network needs, and a small file could make endless or foreign."""
    attributes = [a for node in proto.graph.node for a in node.attribute]
    tensors = [t for a in attributes for t in (a.t, *a.tensors)]
    if proto.functions or any(a.HasField("g") or a.graphs for a in attributes):
        raise ValueError("functions or graphs inside its structure")
    if any(t.data_location or t.external_data for t in (*tensors, *proto.graph.initializer)):
        raise ValueError("numbers of its structure lie in another file")
    inputs = {value.name for value in proto.graph.input}
    if any(t.name in inputs for t in proto.graph.initializer):
        raise ValueError("an input of its structure has a value")


def _weights(graph: ir.Graph, kinds: Mapping[str, str], path: Path) -> list[ir.Value]:
    """The inputs behind the first, which must be those that the file has tensors for."""
    values = graph.inputs[1:]
    if {str(value.name) for value in values} != set(kinds):
        raise _damaged(path, "its tensors are not those of its structure")
    for value in values:
        if value.dtype != ir.DataType.FLOAT or kinds[str(value.name)] not in ("F32", "F16"):
            raise _damaged(path, f"{value.name} is {kinds[str(value.name)]}")
    del graph.inputs[1:]
    return list(values)


def _set(value: ir.Value, array: NDArray[Any], path: Path) -> None:
    shape = () if value.shape is None else tuple(value.shape)
    if array.shape != shape:
        raise _damaged(path, f"{value.name} is {list(array.shape)}, not {list(shape)}")
    if not np.isfinite(array).all():
        raise _damaged(path, f"NaN or infinity in {value.name}")
    value.const_value = ir.tensor(array.astype(np.float32, copy=False), name=value.name)


def _put_in_order(model: ir.Model, weights: Sequence[ir.Value], path: Path) -> None:
    """Initializers in the order they had."""
    initializers, order = model.graph.initializers, model.metadata_props.pop(ORDER, "")
    others = list(initializers.values())
    if sorted(order) != [FLOAT] * len(weights) + [OTHER] * len(others):
        raise _damaged(path, "its numbers are not in a known order")
    initializers.clear()
    queues = {FLOAT: iter(weights), OTHER: iter(others)}
    for letter in order:
        model.graph.register_initializer(next(queues[letter]))


def _widen_epsilons(graph: ir.Graph) -> None:
    """ONNX rounds 1e-3 to float32; the shortest decimal is what the network was made with.

    Without this, merging would give other last bits than from the checkpoint itself.
    """
    for node in graph:
        eps = node.attributes.get("epsilon")
        if eps is not None and node.op_identifier() == NORMALIZATION:
            number = float(str(np.float32(eps.as_float())))
            node.attributes["epsilon"] = ir.AttrFloat32("epsilon", number)


def _letter(value: ir.Value) -> str:
    return FLOAT if value.dtype == ir.DataType.FLOAT else OTHER


def _damaged(path: Path, what: str) -> InputError:
    lines = [line for line in what.splitlines() if line.strip()] or ["unreadable"]
    return InputError(f"is damaged: {lines[0][:200]}", where=str(path), hint=HINT)
