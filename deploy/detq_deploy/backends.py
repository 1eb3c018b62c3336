"""The engines that run an ONNX file, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from detq.errors import InputError, TargetError
from detq.runner import Runner
from detq_deploy.engines import import_engine
from detq_deploy.onnxruntime_run import OnnxRuntimeRunner
from detq_deploy.openvino_run import OpenVinoRunner


@dataclass(frozen=True, slots=True)
class Settings:
    """How an engine runs; see ``open_runner``."""

    threads: int | None = None
    optimize: bool = True
    busy_cores: bool = False


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


BACKENDS: dict[str, Opener] = {
    "torch": _open_torch,
    "onnxruntime": _open_onnxruntime,
    "openvino": _open_openvino,
}


def open_runner(
    backend: str,
    path: Path,
    *,
    threads: int | None = None,
    optimize: bool = True,
    busy_cores: bool = False,
) -> Runner:
    """Load a model into an engine.

    Args:
        backend: a key of ``BACKENDS``.
        path: an ONNX file.
        threads: as many as the usable cores if None; torch keeps its own default then.
        optimize: False asks for the graph as it is written, node by node. The torch
            interpreter always does that; OpenVINO cannot.
        busy_cores: other work shares the cores with the engine, whose threads then sleep
            between two runs instead of spinning, and are not bound to a core.

    Raises:
        TargetError: no such backend, or it refuses the model.
        TargetUnavailableError: its package is not installed.
        InputError: the file cannot be read, or an option cannot be met.
    """
    if backend not in BACKENDS:
        raise TargetError(f"no backend {backend!r}", hint=f"one of {', '.join(BACKENDS)}")
    if threads is not None and threads < 1:
        raise InputError(f"{threads} threads", hint="give 1 or more")
    return BACKENDS[backend](path, Settings(threads, optimize, busy_cores))
