"""From an engine file to an engine that can run, with every refusal told before TensorRT's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detq.errors import TargetError
from detq_deploy.trt.foreign import require_plain
from detq_deploy.trt.log import last_error, new_log
from detq_deploy.trt.machine import this_machine
from detq_deploy.trt.side_car import SideCar, read_engine, read_side_car, side_car_path

if TYPE_CHECKING:
    import tensorrt as trt

_OF_MEMORY = ("out of memory", "outofmemory", "insufficient memory", "cudamalloc", "no memory")


@dataclass
class Opened:
    """A deserialized engine and what has to live as long as it.

    Attributes:
        title: TensorRT's version and the GPU.
        engine: the engine.
        context: it runs in.
        log: what TensorRT said.
        metadata: the ONNX file's, from the side-car; None without one.
        caution: what should be known although it runs; empty where nothing is.
        outputs: names in the order of the ONNX file; none without a side-car.
        sm: architecture of the GPU.
        runtime: that read it.
    """

    title: str
    engine: Any
    context: Any
    log: Any
    metadata: Mapping[str, str] | None
    caution: str
    outputs: tuple[str, ...]
    sm: str
    runtime: Any

    def said(self) -> str:
        """TensorRT's last error, in one line."""
        return last_error(self.log)

    def close(self) -> None:
        """Free all in the order that TensorRT wants: it must not outlive what it came from."""
        self.context = None
        self.engine = None
        self.runtime = None


def open_engine(path: Path) -> Opened:
    """Deserialize a plain plan on the first GPU.

    Raises:
        InputError: no such file, a truncated one, or one with a header of another program.
        TargetError: it was built for another GPU or version, or there is too little memory.
        TargetUnavailableError: there is no TensorRT, no driver or no GPU.
    """
    require_plain(path)
    side_car = read_side_car(path) if side_car_path(path).is_file() else None
    machine = this_machine("tensorrt" if side_car is None else side_car.machine.product)
    plan, caution = path.read_bytes(), ""
    if side_car is not None:
        plan, side_car, caution = read_engine(path, machine)
    log = new_log()
    runtime = _runtime(log, side_car)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise _refusal(path, machine.title, "does not take the engine", last_error(log))
    context = engine.create_execution_context()
    if context is None:
        raise _refusal(path, machine.title, "cannot prepare the engine", last_error(log))
    return Opened(
        title=machine.title,
        engine=engine,
        context=context,
        log=log,
        metadata=None if side_car is None else side_car.metadata,
        caution=caution,
        outputs=() if side_car is None else tuple(x.name for x in side_car.outputs),
        sm=machine.sm,
        runtime=runtime,
    )


def _runtime(log: Any, side_car: SideCar | None) -> "trt.Runtime":
    import tensorrt as trt

    if hasattr(trt, "init_libnvinfer_plugins"):
        # An engine with a plugin inside needs it registered before it is read.
        trt.init_libnvinfer_plugins(log, "")
    runtime = trt.Runtime(log)
    if side_car is None:
        return runtime
    if side_car.settings.dla_core is not None:
        runtime.DLA_core = side_car.settings.dla_core
    if side_car.settings.version_compatible and hasattr(runtime, "engine_host_code_allowed"):
        # Such a plan brings code of its own: of the file that detq wrote and has checked.
        runtime.engine_host_code_allowed = True
    return runtime


def _refusal(path: Path, title: str, what: str, said: str) -> TargetError:
    if any(word in said.lower() for word in _OF_MEMORY):
        return TargetError(
            f"{title} has too little memory for the engine: {said}",
            where=str(path),
            hint="end other programs on the GPU, or build for a smaller batch or size",
        )
    because = f": {said}" if said else ", without a reason; the file may be cut off"
    return TargetError(
        f"{title} {what}{because}",
        where=str(path),
        hint="build it on this machine, with the TensorRT that runs it: detq build",
    )
