"""From an ONNX file to a plan, in this process; ``build_process`` does it in one of its own."""

import hashlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detq.errors import TargetError
from detq.whole_file import written_whole
from detq_deploy.trt.config import configure
from detq_deploy.trt.dialect import check_version
from detq_deploy.trt.load import Loaded, load_tensorrt
from detq_deploy.trt.log import last_error, new_log, texts_of
from detq_deploy.trt.machine import Machine, here, this_machine
from detq_deploy.trt.parse import bindings_of, create_network, parse
from detq_deploy.trt.progress import Phases, Tell, new_monitor
from detq_deploy.trt.request import BuildAnswer, BuildRequest, LayersForm, Refusal
from detq_deploy.trt.timing_cache import load_timings, save_timings, timing_file

if TYPE_CHECKING:
    pass

_TABLE = "Layers:"  # begins the layer table in TensorRT-RTX's log
_OF_MEMORY = ("out of memory", "outofmemory", "insufficient memory", "cudamalloc", "no memory")


def build_plan(
    request: BuildRequest,
    tell: Tell = lambda phase, part: None,
    cancelled: threading.Event | None = None,
) -> BuildAnswer:
    """Parse, build, and look at what was built.

    Args:
        request: what to build.
        tell: is told how far it is, where TensorRT says so (10 and later).
        cancelled: once set, the build stops as soon as it can.

    Raises:
        InputError: no such file, or not ONNX.
        TargetError: this TensorRT or GPU cannot do what was asked for, or has too little memory.
        TargetUnavailableError: no TensorRT, driver or GPU.
        KeyboardInterrupt: it was cancelled.
    """
    loaded = load_tensorrt(request.product)
    machine = _machine(loaded, request)
    caution = check_version(loaded, request.targets, request.onnx)
    import tensorrt as trt

    log = new_log()
    builder = trt.Builder(log)
    network = create_network(builder, request.settings.typing)
    refusals = parse(network, request.path, log)
    if refusals:
        return BuildAnswer(machine=machine, refusals=refusals)
    stop = cancelled or threading.Event()
    made = configure(builder, request, new_monitor(Phases(tell), stop))
    timings = None
    if request.timing_cache:
        timings = load_timings(made.config, timing_file(request, machine))
    start = time.perf_counter()
    plan: Any = builder.build_serialized_network(network, made.config)
    seconds = time.perf_counter() - start
    if stop.is_set():
        raise KeyboardInterrupt
    cautions = [text for text in (caution, timings and timings.warning) if text]
    warnings = (*cautions, *texts_of(log, "WARNING"))
    if plan is None:
        return BuildAnswer(machine=machine, refusals=_refused(request, log), warnings=warnings)
    if timings is not None:
        save_timings(made.config, timings)
    blob = bytes(plan)
    if request.plan:
        with written_whole(Path(request.plan)) as path:
            path.write_bytes(blob)
    inputs, outputs = bindings_of(network)
    layers, form = _layers(request, blob, log)
    return BuildAnswer(
        machine=machine,
        warnings=warnings,
        plan_bytes=len(blob),
        plan_sha256=hashlib.sha256(blob).hexdigest(),
        seconds=seconds,
        flags=made.flags,
        inputs=inputs,
        outputs=outputs,
        layers=layers,
        layers_form=form,
    )


def _machine(loaded: Loaded, request: BuildRequest) -> Machine:
    """A GPU is asked only where the builder needs one: without, it might end the process."""
    if loaded.product == "tensorrt":
        return this_machine()
    return Machine(
        product=loaded.product,
        tensorrt=loaded.version,
        sm=request.settings.arch,
        platform=here(),
    )


def _refused(request: BuildRequest, log: Any) -> tuple[Refusal, ...]:
    said = texts_of(log, "ERROR", "INTERNAL_ERROR")
    if any(word in text.lower() for text in said for word in _OF_MEMORY):
        raise TargetError(
            f"too little memory to build it: {last_error(log)}",
            where=request.onnx,
            hint="end other programs on the GPU, give a lower --workspace, or a smaller --batch "
            "or --size",
        )
    return tuple(Refusal(node="", operator="", text=text) for text in said or ["without a reason"])


def _layers(request: BuildRequest, plan: bytes, log: Any) -> tuple[str, LayersForm]:
    """What became of the layers; nothing where TensorRT does not say."""
    if request.product == "tensorrt-rtx":
        return "\n".join(texts_of(log, "VERBOSE", since=_TABLE)), "table"
    import tensorrt as trt

    runtime = trt.Runtime(log)
    if request.settings.version_compatible and hasattr(runtime, "engine_host_code_allowed"):
        runtime.engine_host_code_allowed = True
    if request.settings.dla_core is not None:
        runtime.DLA_core = request.settings.dla_core
    engine: trt.ICudaEngine | None = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return "", "none"
    inspector = engine.create_engine_inspector()
    return inspector.get_engine_information(trt.LayerInformationFormat.JSON), "inspector"
