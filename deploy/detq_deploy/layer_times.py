"""Time of every kernel of a model, as the engine's own profiler tells it."""

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from detq.errors import TargetError
from detq.graph.files import load_model
from detq_deploy.engines import engine_title, import_engine, refusal
from detq_deploy.openvino_run import cpu_settings

Images = NDArray[Any]

_WITH_WEIGHTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "QLinearConv")
_WARM = 2  # runs that do not count
_ORT_INT8 = ("QLinearConv", "ConvInteger", "QLinearMatMul", "QGemm", "MatMulInteger")
_ORT_KERNEL = re.compile(r"_kernel_time$")
_OPENVINO_INT8 = re.compile(r"_[iu]8$", re.IGNORECASE)
_OPENVINO_WITH_WEIGHTS = re.compile(r"Convolution|FullyConnected|MatMul")


@dataclass(frozen=True, slots=True)
class KernelTime:
    """One kernel of an engine.

    Attributes:
        name: the engine's.
        kind: the engine's name of an operator.
        layers: ONNX names of the layers with weights that it computes; none of most kernels.
        int8: it multiplies integers.
        ms: median time of a run.
    """

    name: str
    kind: str
    layers: tuple[str, ...]
    int8: bool
    ms: float


def kernel_times(
    backend: str, path: Path, images: Images, *, runs: int, threads: int
) -> tuple[str, list[KernelTime]]:
    """Engine, and its kernels that took any time in ``runs`` runs of ``images``.

    Args:
        backend: a key of ``PROFILERS``.
        path: model file.
        images: one batch, as the file takes it.
        runs: behind some that do not count.
        threads: of a CPU engine.

    Raises:
        TargetError: no such backend, one that does not tell, or it refuses the model.
        TargetUnavailableError: its package or GPU is not there.
        InputError: no such file, or it is not one of the backend's.
    """
    if backend not in PROFILERS:
        raise TargetError(
            f"backend {backend!r} does not tell the time of a layer",
            hint=f"one of {', '.join(PROFILERS)}",
        )
    return PROFILERS[backend](path, images, runs, threads)


def layers_with_weights(path: Path) -> dict[str, str]:
    """Name of a node or of what it gives → the layer with weights that it is or directly follows.

    An engine that takes an activation into a convolution may call the whole by any of them.
    """
    found: dict[str, str] = {}
    for node in load_model(path).graph:
        if node.op_type in _WITH_WEIGHTS:
            follower: ir.Node | None = node
            while follower is not None and follower.name:
                names = (follower.name, *(value.name for value in follower.outputs))
                found.update({str(name): str(node.name) for name in names})
                follower = _only_reader(follower)
    return found


def _only_reader(node: ir.Node) -> ir.Node | None:
    """The one node that reads what ``node`` gives, unless it has weights itself."""
    readers = [use.node for value in node.outputs for use in value.uses()]
    alone = len(readers) == 1 and readers[0].op_type not in _WITH_WEIGHTS
    return readers[0] if alone and len(_computed_inputs(readers[0])) == 1 else None


def _computed_inputs(node: ir.Node) -> list[ir.Value]:
    return [x for x in node.inputs if x is not None and x.const_value is None and x.producer()]


def _onnxruntime(
    path: Path, images: Images, runs: int, threads: int
) -> tuple[str, list[KernelTime]]:
    ort = import_engine("onnxruntime")
    known = layers_with_weights(path)
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "times")
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            feeds = {session.get_inputs()[0].name: images}
            for _ in range(_WARM + runs):
                session.run(None, feeds)
        except Exception as error:  # every status code is an exception class of its own
            raise refusal("onnxruntime", path, error) from error
        events = json.loads(Path(session.end_profiling()).read_text())
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and _ORT_KERNEL.search(event["name"]):
            key = _ORT_KERNEL.sub("", event["name"]), str(event["args"]["op_name"])
            found[key].append(event["dur"] / 1000)
    kernels = [
        KernelTime(
            name,
            kind,
            _computed(name, known) if "Conv" in kind or "Gemm" in kind or "MatMul" in kind else (),
            kind in _ORT_INT8,
            median(times[_WARM:]),
        )
        for (name, kind), times in found.items()
        if len(times) > _WARM
    ]
    return f"{engine_title('onnxruntime')} CPU", kernels


def _openvino(path: Path, images: Images, runs: int, threads: int) -> tuple[str, list[KernelTime]]:
    core = import_engine("openvino").Core()
    known = layers_with_weights(path)
    try:
        settings = {**cpu_settings(threads), "PERF_COUNT": "YES"}
        compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
        request = compiled.create_infer_request()
    except RuntimeError as error:
        raise refusal("openvino", path, error) from error
    origins = _origins(compiled)
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for run in range(_WARM + runs):
        request.infer([images])
        for node in request.profiling_info if run >= _WARM else ():
            ms = node.real_time.total_seconds() * 1000
            if node.status.name == "EXECUTED":
                found[node.node_name, node.node_type, node.exec_type].append(ms)
    kernels = [
        KernelTime(
            name,
            kind,
            _made_from(origins.get(name, (name,)), known) or _computed(name, known)
            if _OPENVINO_WITH_WEIGHTS.search(kind)
            else (),
            bool(_OPENVINO_INT8.search(how)),
            median(times),
        )
        for (name, kind, how), times in found.items()
    ]
    return f"{engine_title('openvino')} CPU", kernels


def _origins(compiled: Any) -> dict[str, tuple[str, ...]]:
    """OpenVINO's name of a node → names of the ONNX nodes it was made from."""
    found = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        told = node.get_rt_info()
        if "originalLayersNames" in told:
            names = str(told["originalLayersNames"].astype(str))
            found[node.get_friendly_name()] = tuple(names.split(","))
    return found


def _tensorrt(path: Path, images: Images, runs: int, threads: int) -> tuple[str, list[KernelTime]]:
    from detq_deploy.nvidia.inspector import plain_name
    from detq_deploy.trt.layers import report_engine
    from detq_deploy.trt.runner import TensorRtRunner

    report = report_engine(path)
    with TensorRtRunner(path) as run:
        times = run.layer_times(images, runs)
        name = run.name
    told = {layer.name: layer for layer in report.audit.layers}
    kernels = []
    for title, all_ms in times.items():
        layer = told.get(plain_name(title))
        computes = layer is not None and layer.kind == "convolution"
        kernels.append(
            KernelTime(
                title,
                "" if layer is None else layer.layer_type or layer.kind,
                report.layers_of(layer) if layer is not None and computes else (),
                layer is not None and computes and layer.got == "Int8",
                median(all_ms),
            )
        )
    return name, kernels


def _made_from(names: Sequence[str], known: Mapping[str, str]) -> tuple[str, ...]:
    """The layers among the nodes that a kernel was made from."""
    return tuple(dict.fromkeys(name for name in names if known.get(name) == name))


def _computed(name: str, known: Mapping[str, str]) -> tuple[str, ...]:
    """The layer of a name that an engine has made longer, as ``conv_nchwc``."""
    fit = [one for one in known if name == one or name.startswith((f"{one}_", f"{one}/"))]
    return (known[max(fit, key=len)],) if fit else ()


Profiler = Callable[[Path, Images, int, int], tuple[str, list[KernelTime]]]

PROFILERS: dict[str, Profiler] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "tensorrt": _tensorrt,
}
