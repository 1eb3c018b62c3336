"""Which convolutions an engine really runs in INT8, asked of the engine itself."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import onnx_ir as ir

from detq.errors import TargetError
from detq.graph.files import load_model
from detq_deploy.engines import import_engine, refusal
from detq_deploy.openvino_run import compile_model

_IN_FILE = ("Conv", "ConvTranspose", "ConvInteger", "QLinearConv")
_ORT_INT8 = ("QLinearConv", "ConvInteger")
_OPENVINO_CONVOLUTIONS = ("Convolution", "Deconvolution")
_OPENVINO_INT8 = ("i8", "u8")


class LayerCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine runs the convolutions of a file, transposed ones included.

    Attributes:
        convolutions: in the file.
        int8: of these, how many the engine runs in INT8.
        in_float: names, as the engine gives them, of those it runs in float.
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
    if backend not in INSPECTORS:
        raise TargetError(
            f"backend {backend!r} does not tell how it runs a layer",
            hint=f"one of {', '.join(INSPECTORS)}",
        )
    convolutions = sum(node.op_type in _IN_FILE for node in load_model(path).graph)
    return _counts(convolutions, INSPECTORS[backend](path))


Layer = tuple[str, str, bool]  # name, kernel, runs in INT8


def _counts(convolutions: int, layers: Iterable[Layer]) -> LayerCounts:
    layers = list(layers)
    return LayerCounts(
        convolutions=convolutions,
        int8=sum(int8 for _, _, int8 in layers),
        in_float=tuple(name for name, _, int8 in layers if not int8),
        kernels=dict(Counter(kernel for _, kernel, _ in layers)),
    )


def _onnxruntime_layers(path: Path) -> list[Layer]:
    return [
        (str(node.name), node.op_type, node.op_type in _ORT_INT8)
        for node in _optimized(path).graph
        if "Conv" in node.op_type
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


def _openvino_layers(path: Path) -> list[Layer]:
    nodes = compile_model(path, threads=1).get_runtime_model().get_ordered_ops()
    facts = [(node.get_friendly_name(), node.get_rt_info()) for node in nodes]
    return [
        (
            name,
            info["primitiveType"].astype(str),
            info["runtimePrecision"].astype(str) in _OPENVINO_INT8,
        )
        for name, info in facts
        if info["layerType"].astype(str) in _OPENVINO_CONVOLUTIONS
    ]


INSPECTORS: dict[str, Callable[[Path], list[Layer]]] = {
    "onnxruntime": _onnxruntime_layers,
    "openvino": _openvino_layers,
}
