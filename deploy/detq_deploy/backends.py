"""The engines that run a model file, by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from detq.errors import InputError, TargetError, remedy_for_name
from detq.runner import Runner
from detq_deploy.engines import import_engine
from detq_deploy.onnxruntime_run import OnnxRuntimeRunner
from detq_deploy.openvino_run import OpenVinoRunner
from detq_deploy.trt.foreign import SUFFIXES, is_engine


@dataclass(frozen=True, slots=True)
class Settings:
    """How an engine runs; see ``open_runner``."""

    threads: int | None = None
    optimize: bool = True
    busy_cores: bool = False
    contract: Path | None = None
    cuda_graph: bool = False


Opener = Callable[[Path, Settings], Runner]


def _open_torch(path: Path, settings: Settings) -> Runner:
    import_engine("torch")
    from detq.graph.torch_runner import TorchRunner

    return TorchRunner(path, threads=settings.threads)


def _open_onnxruntime(path: Path, settings: Settings) -> Runner:
    return OnnxRuntimeRunner(
        path,
        threads=settings.threads,
        optimize=settings.optimize,
        busy_cores=settings.busy_cores,
    )


def _open_openvino(path: Path, settings: Settings) -> Runner:
    if not settings.optimize:
        raise InputError(
            "OpenVINO cannot run a graph without its optimizations",
            hint="use the backend torch, or onnxruntime",
        )
    return OpenVinoRunner(path, threads=settings.threads, busy_cores=settings.busy_cores)


def _open_tensorrt(path: Path, settings: Settings) -> Runner:
    if not settings.optimize:
        raise InputError(
            "an engine is what TensorRT's optimizations made of a graph",
            hint="use the backend torch, or onnxruntime, on its ONNX file",
        )
    from detq_deploy.trt.runner import TensorRtRunner

    return TensorRtRunner(path, contract=settings.contract, cuda_graph=settings.cuda_graph)


BACKENDS: dict[str, Opener] = {
    "torch": _open_torch,
    "onnxruntime": _open_onnxruntime,
    "openvino": _open_openvino,
    "tensorrt": _open_tensorrt,
}


def backend_of(path: Path, backend: str | None = None) -> str:
    """The engine for a file: TensorRT for its engines, else ``backend`` or ONNX Runtime.

    Raises:
        InputError: ``backend`` does not read such a file.
    """
    if backend is None:
        return "tensorrt" if is_engine(path) else "onnxruntime"
    _require_fit(path, backend)
    return backend


def pairs_of(paths: Sequence[Path], backends: Sequence[str]) -> list[tuple[Path, str]]:
    """Every ONNX file with each backend, ONNX Runtime if none is given; engines with TensorRT.

    Raises:
        InputError: TensorRT alone is given, for an ONNX file.
    """
    others = [name for name in backends if name != "tensorrt"]
    asked: list[str | None] = [*(others or backends)] or [None]
    return [
        (path, backend_of(path, name))
        for path in paths
        for name in ([None] if is_engine(path) else asked)
    ]


def _require_fit(path: Path, backend: str) -> None:
    if backend == "tensorrt" and path.suffix.lower() == ".onnx":
        raise InputError(
            "is an ONNX file, TensorRT runs engines",
            where=str(path),
            hint=f"build one with: detq build {path}",
        )
    if backend != "tensorrt" and is_engine(path):
        raise InputError(
            f"is a TensorRT engine by its name ({', '.join(SUFFIXES)})",
            where=str(path),
            hint="leave out --backend, or give the ONNX file",
        )


def open_runner(
    backend: str,
    path: Path,
    *,
    threads: int | None = None,
    optimize: bool = True,
    busy_cores: bool = False,
    contract: Path | None = None,
    cuda_graph: bool = False,
) -> Runner:
    """Load a model into an engine.

    Args:
        backend: a key of ``BACKENDS``.
        path: an ONNX file, or a TensorRT engine.
        threads: as many as the usable cores if None; torch keeps its own default then.
        optimize: False asks for the graph as it is written, node by node. The torch
            interpreter always does that; OpenVINO cannot.
        busy_cores: other work shares the cores with the engine, whose threads then sleep
            between two runs instead of spinning, and are not bound to a core.
        contract: ONNX file of detq that says what an engine without a side-car detects.
        cuda_graph: TensorRT replays one run as a CUDA graph.

    Raises:
        TargetError: no such backend, or it refuses the model.
        TargetUnavailableError: its package is not installed.
        InputError: the file cannot be read, or an option cannot be met.
    """
    if backend not in BACKENDS:
        raise TargetError(f"no backend {backend!r}", hint=remedy_for_name(backend, BACKENDS))
    if threads is not None and threads < 1:
        raise InputError(f"{threads} threads", hint="give 1 or more")
    _require_fit(path, backend)
    if contract is not None and backend != "tensorrt":
        raise InputError(
            "an ONNX file says itself what it detects", where=str(path), hint="leave out --contract"
        )
    return BACKENDS[backend](path, Settings(threads, optimize, busy_cores, contract, cuda_graph))
