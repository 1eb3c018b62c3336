"""An engine's layers, from wherever they can be had, beside what its file asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from detq.errors import InputError, TargetUnavailableError
from detq.whole_file import told
from detq_deploy.nvidia.asked import asked_of
from detq_deploy.nvidia.engine_audit import EngineAudit, EngineLayer, audit_engine
from detq_deploy.nvidia.inspector import kernels_from_inspector, times_from_profile
from detq_deploy.nvidia.kernel import Kernel
from detq_deploy.nvidia.layer_table import BEGIN, kernels_from_log
from detq_deploy.trt.foreign import is_engine, require_plain
from detq_deploy.trt.side_car import SideCar, read_side_car, side_car_path

_TABLE = "LayerType: "  # in every line of TensorRT-RTX's table
TEXTS = (".json", ".txt", ".log")


class EngineReport(msgspec.Struct, frozen=True, kw_only=True):
    """An engine, or an exported list of its layers, told in full.

    Attributes:
        file: that was read.
        engine: what it was built with; empty where only layers are known.
        onnx: name of the file it was built from; empty where it is not known.
        bytes: size of the engine; None of a list of layers.
        flags: of the builder.
        asked_by: where it is known from which layers were to be INT8; empty where it is not.
        layers_by: where the layers are from.
        audit: the layers, and what they add up to.
        asked: ONNX name of each layer with weights → whether the file asks for INT8; nothing
            where that is not known, or of a float file.
    """

    file: str
    engine: str
    onnx: str
    bytes: int | None
    flags: tuple[str, ...]
    asked_by: str
    layers_by: str
    audit: EngineAudit
    asked: dict[str, bool] = {}

    def layers_of(self, layer: EngineLayer) -> tuple[str, ...]:
        """ONNX names of the layers with weights that a layer of the engine computes."""
        known = tuple(node for node in layer.nodes if node in self.asked)
        # A float file asks for nothing: the first node is the convolution, what follows was fused.
        return known or layer.nodes[:1]


def is_layers(path: Path) -> bool:
    """Whether a file may be an exported list of layers."""
    return path.suffix.lower() in TEXTS


def report_engine(
    path: Path, *, onnx: Path | None = None, times: Path | None = None
) -> EngineReport:
    """Read an engine's layers from its side-car, a GPU, or an exported list.

    Args:
        path: an engine; or JSON of its inspector (``trtexec --exportLayerInfo``), or a table of
            TensorRT-RTX's log.
        onnx: Q/DQ file it was built from, which says what was to be INT8, where there is no
            side-car that knows it.
        times: file of ``trtexec --exportProfile``.

    Raises:
        InputError: there is no such file, it is something else, or nothing tells the layers.
        TargetError: only the GPU could tell, and the engine does not load on it.
        TargetUnavailableError: only the GPU could tell, and there is none.
    """
    side_car = _side_car(path)
    kernels, layers_by = _kernels(path, side_car)
    asked, asked_by = _asked(path, side_car, onnx)
    measured = None if times is None else times_from_profile(_text(times), str(times))
    title = "" if side_car is None else side_car.machine.title
    return EngineReport(
        file=str(path),
        engine=title,
        onnx="" if side_car is None else side_car.onnx,
        bytes=path.stat().st_size if is_engine(path) else None,
        flags=() if side_car is None else side_car.flags,
        asked_by=asked_by,
        layers_by=layers_by,
        audit=audit_engine(kernels, asked=asked, times=measured, source=title or path.name),
        asked=dict(asked or {}),
    )


def _side_car(path: Path) -> SideCar | None:
    if not is_engine(path):
        return None
    require_plain(path)
    return read_side_car(path) if side_car_path(path).is_file() else None


def _kernels(path: Path, side_car: SideCar | None) -> tuple[Sequence[Kernel], str]:
    if not is_engine(path):
        return _listed(_text(path), str(path)), path.name
    if side_car is not None and side_car.layers:
        beside = side_car_path(path).name
        return _listed(side_car.layers, beside), beside
    from detq_deploy.trt.runner import TensorRtRunner

    try:
        with TensorRtRunner(path) as run:
            return kernels_from_inspector(run.layer_information(), str(path)), run.name
    except TargetUnavailableError as error:
        raise TargetUnavailableError(
            f"has no list of its layers beside it, and {error.what}",
            where=str(path),
            hint="copy its .json too, or give what trtexec --exportLayerInfo writes",
        ) from error


def _listed(text: str, where: str) -> tuple[Kernel, ...]:
    if _TABLE in text and not text.lstrip().startswith(("{", "[")):
        whole = text if text.startswith(BEGIN) or f"\n{BEGIN}\n" in text else f"{BEGIN}\n{text}"
        return kernels_from_log(whole)
    return kernels_from_inspector(text, where)


def _asked(
    path: Path, side_car: SideCar | None, onnx: Path | None
) -> tuple[Mapping[str, bool] | None, str]:
    if onnx is not None:
        return asked_of(onnx) or None, onnx.name
    if side_car is None or not side_car.asked:
        return None, ""
    return side_car.asked, side_car_path(path).name


def _text(path: Path) -> str:
    try:
        with told(path, "cannot be read", "give an engine, or a list of its layers"):
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            "is no text", where=str(path), hint="give a file of trtexec --exportLayerInfo"
        ) from error
