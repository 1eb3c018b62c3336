"""The engines that run an ONNX file, by name."""

from collections.abc import Callable
from pathlib import Path

from detq.errors import InputError, TargetError
from detq.runner import Runner
from detq_deploy.engines import import_engine
from detq_deploy.onnxruntime_run import OnnxRuntimeRunner
from detq_deploy.openvino_run import OpenVinoRunner

Opener = Callable[[Path, int | None, bool], Runner]  # path, threads, optimize


def _open_torch(path: Path, threads: int | None, optimize: bool) -> Runner:
    import_engine("torch")
    from detq.graph.torch_runner import TorchRunner

    return TorchRunner(path, threads=threads)


def _open_onnxruntime(path: Path, threads: int | None, optimize: bool) -> Runner:
    return OnnxRuntimeRunner(path, threads=threads, optimize=optimize)


def _open_openvino(path: Path, threads: int | None, optimize: bool) -> Runner:
    if not optimize:
        raise InputError(
            "OpenVINO cannot run a graph without its optimizations",
            hint="use the backend torch, or onnxruntime",
        )
    return OpenVinoRunner(path, threads=threads)


BACKENDS: dict[str, Opener] = {
    "torch": _open_torch,
    "onnxruntime": _open_onnxruntime,
    "openvino": _open_openvino,
}


def open_runner(
    backend: str, path: Path, *, threads: int | None = None, optimize: bool = True
) -> Runner:
    """Load a model into an engine.

    Args:
        backend: a key of ``BACKENDS``.
        path: an ONNX file.
        threads: as many as the usable cores if None; torch keeps its own default then.
        optimize: False asks for the graph as it is written, node by node. The torch
            interpreter always does that; OpenVINO cannot.

    Raises:
        TargetError: no such backend, or it refuses the model.
        TargetUnavailableError: its package is not installed.
        InputError: the file cannot be read, or an option cannot be met.
    """
    if backend not in BACKENDS:
        raise TargetError(f"no backend {backend!r}", hint=f"one of {', '.join(BACKENDS)}")
    if threads is not None and threads < 1:
        raise InputError(f"{threads} threads", hint="give 1 or more")
    return BACKENDS[backend](path, threads, optimize)
