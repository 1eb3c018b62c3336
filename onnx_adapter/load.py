"""From bytes to a graph that keeps ONNX's rules, with its weights in memory."""

import logging
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from detq.errors import DetqError, InputError, UnsupportedOperatorError

# Its warnings come on several lines, and what they are about is told in one.
logging.getLogger("onnx_ir").addHandler(logging.NullHandler())

OLDEST_OPSET = 11
LARGEST_COUNT = 100_000  # nodes
LARGEST = 2**31 - 1  # bytes, of a file and of its weights: protobuf's own limit

_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinear*", "QGemm",
              "QAttention", "QEmbed*", "ConvInteger", "MatMulInteger", "*NBits")  # fmt: skip
_CONTROL = ("If", "Loop", "Scan", "SequenceMap")
_SUPPRESSION = ("*NonMaxSuppression*", "*NMS*")


def load_onnx(path: Path) -> ir.Model:
    """Read a float ONNX file; functions are inlined, constants and external data stored.

    Raises:
        InputError: there is no such file, it is no valid ONNX, or quantized already.
        UnsupportedOperatorError: it loops, branches, or suppresses boxes by itself.
    """
    proto = _parsed(path)
    try:
        model = ir.from_proto(proto)
        ir.external_data.set_base_dir(model.graph, path.parent)  # and nowhere above it
        _check(model, path)
        # Functions and constants first: what they hold is weights too.
        common.InlinePass()(model)
        name_all(model)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        _load_weights(model, path)
    except DetqError:
        raise
    except Exception as error:  # the classes depend on what is damaged
        raise damaged(path, error) from error
    return model


def _count_inlined(model: ir.Model) -> int:
    """Nodes when every call of a function is written out; functions may double each other."""
    counts: dict[ir.OperatorIdentifier, int] = {}

    def count(nodes: Iterable[ir.Node]) -> int:
        return sum(counted(node.op_identifier()) for node in nodes)

    def counted(name: ir.OperatorIdentifier) -> int:
        if name not in model.functions:
            return 1
        if name not in counts:
            counts[name] = LARGEST_COUNT  # stands for a function that calls itself
            counts[name] = count(model.functions[name])
        return counts[name]

    return count(model.graph)


class _Operators(common.naming.SimpleNameGenerator):
    def generate_node_name(self, node: ir.Node) -> str:
        return node.name or node.op_type


def name_all(model: ir.Model) -> None:
    """Unique names for what has none, or one that is taken: nodes are called ``Conv_1``."""
    common.NameFixPass(name_generator=_Operators())(model)


def damaged(path: Path, error: Exception) -> InputError:
    """What a library found wrong with a file, in its own first words."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    reason = (lines[0] if lines else type(error).__name__)[:200]
    return InputError(f"is no valid ONNX: {reason}", where=str(path), hint="export it again")


def _parsed(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise InputError("no such file", where=str(path), hint="give the path of an ONNX file")
    if path.stat().st_size > LARGEST:
        raise InputError("is larger than 2 GB", where=str(path), hint="keep weights outside")
    try:
        # The format is not guessed from the name, and no other file is opened yet.
        proto = onnx.load(path, format="protobuf", load_external_data=False)
        try:
            onnx.checker.check_model(str(path))
        except onnx.checker.ValidationError as error:
            if "topologically sorted" not in str(error):
                raise
            proto = _sorted(proto)
            onnx.checker.check_model(proto)
    except Exception as error:  # protobuf raises a class of its own per backend
        raise damaged(path, error) from error
    return proto


def _sorted(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Producers before readers: converters to half precision append their casts at the end."""
    model = ir.from_proto(proto)
    common.TopologicalSortPass()(model)
    return ir.to_proto(model)


def _check(model: ir.Model, path: Path) -> None:
    version = model.opset_imports.get("", 0)
    if version < OLDEST_OPSET:
        raise InputError(
            f"is of opset {version}",
            where=str(path),
            hint=f"export it again with opset {OLDEST_OPSET} or later",
        )
    if _count_inlined(model) > LARGEST_COUNT:
        raise InputError("is too large with its functions written out", where=str(path))
    for node in _all_nodes(model):
        if _is_one_of(node, _QUANTIZED):
            raise InputError(
                f"is quantized already ({node.op_type} {node.name})".replace(" )", ")"),
                where=str(path),
                hint="give the float model that it was made from",
            )
        if _is_one_of(node, _SUPPRESSION):
            raise UnsupportedOperatorError(
                f"{node.op_type} suppresses boxes inside the graph",
                where=f"{path} {node.name}".strip(),
                hint="export it without NMS",
            )
        if _is_one_of(node, _CONTROL):
            raise UnsupportedOperatorError(
                f"{node.op_type} runs a graph inside the graph",
                where=f"{path} {node.name}".strip(),
                hint="export it with another opset, or simplify it",
            )


def _all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    yield from ir.traversal.RecursiveGraphIterator(model.graph)
    for function in model.functions.values():
        yield from ir.traversal.RecursiveGraphIterator(function)


def _is_one_of(node: ir.Node, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(node.op_type, pattern) for pattern in patterns)


def _load_weights(model: ir.Model, path: Path) -> None:
    """Every initializer as a plain array: what is damaged shows here, not later."""
    stored = [value for value in model.graph.initializers.values() if value.const_value is not None]
    total = sum(value.const_value.nbytes for value in stored if value.const_value is not None)
    if total > LARGEST:
        raise InputError("has more than 2 GB of weights", where=str(path))
    for value in stored:
        assert value.const_value is not None
        outside = isinstance(value.const_value, ir.ExternalTensor)
        array = value.const_value.numpy()
        array = array.copy() if outside else array  # the other file may change or go
        value.const_value = ir.tensor(array, name=value.name)
        value.shape, value.dtype = ir.Shape(array.shape), value.const_value.dtype
    for node in model.graph:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR:
                attribute.as_tensor().numpy()
