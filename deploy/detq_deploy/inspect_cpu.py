"""Which convolutions an engine really runs in INT8, asked of the engine itself."""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import onnx_ir as ir

from detq.errors import TargetError
from detq.graph.files import load_model
from detq_deploy.engines import import_engine, refusal
from detq_deploy.openvino_run import compile_model

_IN_FILE = ("Conv", "ConvTranspose", "ConvInteger", "QLinearConv")
_ORT_INT8 = ("QLinearConv", "ConvInteger")
_ORT_SUFFIX = re.compile(r"_token_\d+$")  # of a node that replaced another
_OPENVINO_CONVOLUTIONS = ("Convolution", "Deconvolution")
_OPENVINO_INT8 = ("i8", "u8")


class LayerCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine runs the convolutions of a file, transposed ones included.

    Attributes:
        convolutions: in the file.
        int8: of these, how many the engine runs in INT8.
        in_float: names of those it runs in float; the engine's where it forgot the file's.
        kernels: the engine's own name of a kernel or operator → number of convolutions.
    """

    convolutions: int
    int8: int
    in_float: tuple[str, ...]
    kernels: dict[str, int]


def int8_layers(backend: str, path: Path) -> LayerCounts:
    """Ask the engine how it runs ``path`` on this machine.

    Raises:
        TargetError: no such backend, one that cannot tell, or it refuses the model.
        TargetUnavailableError: its package is not installed.
        InputError: no such file, or it is not ONNX.
    """
    if backend not in INSPECTORS and backend != "tensorrt":
        raise TargetError(
            f"backend {backend!r} does not tell how it runs a layer",
            hint=f"one of {', '.join(INSPECTORS)}",
        )
    if backend == "tensorrt":
        return _engine_layers(path)
    in_file = [node.name or "" for node in load_model(path).graph if node.op_type in _IN_FILE]
    layers = INSPECTORS[backend](path)
    return LayerCounts(
        convolutions=len(in_file),
        int8=sum(layer.int8 for layer in layers),
        in_float=_names_in_float(in_file, layers),
        kernels=dict(Counter(layer.kernel for layer in layers)),
    )


def _engine_layers(path: Path) -> LayerCounts:
    from detq_deploy.trt.layers import report_engine

    layers = [one for one in report_engine(path).audit.layers if one.kind == "convolution"]
    int8 = [layer for layer in layers if layer.got == "Int8"]
    return LayerCounts(
        convolutions=len(layers),
        int8=len(int8),
        in_float=tuple(layer.name for layer in layers if layer not in int8),
        kernels=dict(Counter(layer.layer_type for layer in layers)),
    )


@dataclass(frozen=True, slots=True)
class _Layer:
    names: tuple[str, ...]  # the engine's own, then those it was made from
    kernel: str
    int8: bool


def _names_in_float(in_file: Sequence[str], layers: Sequence[_Layer]) -> tuple[str, ...]:
    # By exclusion, because a float convolution may bear the name of an activation in it.
    int8 = [layer for layer in layers if layer.int8]
    taken = {name for layer in int8 for name in layer.names}
    left = tuple(name for name in in_file if name and name not in taken)
    if len(left) == len(in_file) - len(int8):
        return left
    return tuple(layer.names[0] for layer in layers if not layer.int8)


def _onnxruntime_layers(path: Path) -> list[_Layer]:
    return [
        _Layer(
            (name, _ORT_SUFFIX.sub("", name)),
            op_type,
            op_type in _ORT_INT8,
        )
        for name, op_type in ((node.name or "", node.op_type) for node in _optimized(path).graph)
        if "Conv" in op_type
    ]


def _optimized(path: Path) -> ir.Model:
    ort = import_engine("onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        try:
            ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # every status code is an exception class of its own
            raise refusal("onnxruntime", path, error) from error
        return load_model(Path(options.optimized_model_filepath))


def _openvino_layers(path: Path) -> list[_Layer]:
    nodes = compile_model(path, threads=1).get_runtime_model().get_ordered_ops()
    facts = [{key: _text(fact) for key, fact in node.get_rt_info().items()} for node in nodes]
    return [
        _Layer(
            (node.get_friendly_name(), *fact["originalLayersNames"].split(",")),
            fact["primitiveType"],
            fact["runtimePrecision"] in _OPENVINO_INT8,
        )
        for node, fact in zip(nodes, facts, strict=True)
        if fact["layerType"] in _OPENVINO_CONVOLUTIONS
    ]


def _text(fact: Any) -> str:
    return str(fact.astype(str))


INSPECTORS: dict[str, Callable[[Path], list[_Layer]]] = {
    "onnxruntime": _onnxruntime_layers,
    "openvino": _openvino_layers,
}
