"""From an ONNX file to an engine file with its side-car, checked before and looked at after."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detq.errors import InputError
from detq.graph.files import load_model
from detq.target import Target
from detq.whole_file import require_apart
from detq_deploy.lint import lint
from detq_deploy.lint.findings import Finding
from detq_deploy.nvidia.engine_audit import EngineAudit, audit_engine
from detq_deploy.nvidia.inspector import kernels_from_inspector
from detq_deploy.nvidia.kernel import Kernel
from detq_deploy.nvidia.layer_table import kernels_from_log
from detq_deploy.nvidia.rtx import LONGEST
from detq_deploy.trt.build_process import build_apart
from detq_deploy.trt.dialect import check_dialect, is_quantized
from detq_deploy.trt.load import TITLES, Product
from detq_deploy.trt.profiles import Size, Span, profiles_for
from detq_deploy.trt.progress import Tell
from detq_deploy.trt.refusals import finding_from_refusal
from detq_deploy.trt.request import BuildAnswer, BuildRequest, Settings
from detq_deploy.trt.side_car import SideCar, side_car_of, side_car_path, write_side_car


@dataclass(frozen=True)
class Order:
    """An engine that somebody wants.

    Attributes:
        onnx: file to build.
        target: it is for; a TensorRT or TensorRT-RTX.
        settings: choices.
        batches: numbers of images, where the file leaves them open.
        sizes: of the images, where the file leaves them open.
        timing_cache: folder of what was timed before; None for none.
        calibration_cache: for DLA, of a file without Q/DQ; None for none.
    """

    onnx: Path
    target: Target
    settings: Settings
    batches: Sequence[Span[int]] = ()
    sizes: Span[Size] | None = None
    timing_cache: Path | None = None
    calibration_cache: Path | None = None


@dataclass(frozen=True)
class Made:
    """What came of it.

    Attributes:
        side_car: of the engine; None if NVIDIA refused the file.
        audit: of its layers; None where TensorRT did not tell them.
        findings: refusals, or what costs accuracy or time.
        warnings: ours, then NVIDIA's.
    """

    side_car: SideCar | None
    audit: EngineAudit | None
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]


def make_engine(order: Order, engine: Path, tell: Tell = lambda phase, part: None) -> Made:
    """Build an engine and write it with its side-car; nothing is left behind where it fails.

    Args:
        order: what to build.
        engine: file to write.
        tell: is told how far it is.

    Raises:
        InputError: the file is missing, not ONNX, or written for something else.
        TargetError: this TensorRT or GPU cannot do it.
        TargetUnavailableError: no TensorRT, driver or GPU.
        KeyboardInterrupt: it was cancelled.
    """
    request, cautions = request_for(order, engine)
    answer = build_apart(request, tell, longest=_longest(request.product))
    warnings = (*cautions, *answer.warnings)
    source = answer.machine.title
    if answer.refusals:
        found = tuple(finding_from_refusal(refusal, source) for refusal in answer.refusals)
        return Made(None, None, found, warnings)
    model = load_model(order.onnx)
    asked = dict(lint(model, order.target).int8) if is_quantized(order.onnx) else {}
    side_car = side_car_of(request, answer, dict(model.metadata_props), asked)
    write_side_car(side_car, engine)
    audit = audit_of(side_car)
    return Made(side_car, audit, () if audit is None else audit.findings, warnings)


def request_for(order: Order, engine: Path) -> tuple[BuildRequest, tuple[str, ...]]:
    """What the builder is asked, and what should be known before.

    Raises:
        InputError: the file is missing, not ONNX, or written for something else.
    """
    product: Product = "tensorrt-rtx" if order.target.engine == "tensorrt-rtx" else "tensorrt"
    if order.target.engine not in ("tensorrt", "tensorrt-rtx"):
        raise InputError(
            f"{order.target.name} takes ONNX files as they are", where="--target",
            hint="only TensorRT builds engines: trt10.3, jetpack6.2 and the like",
        )  # fmt: skip
    if product == "tensorrt-rtx":
        _require_plain(order.settings)
    if order.settings.dla_core is not None:
        _require_dla(order)
    for written in (engine, side_car_path(engine)):
        require_apart(written, order.onnx, order.calibration_cache)
    cautions = check_dialect(order.onnx, order.target, order.settings.typing)
    calibration, timings = order.calibration_cache, order.timing_cache
    if calibration is not None and not calibration.is_file():
        raise InputError("no such file", where=str(calibration), hint="detq export --strip")
    request = BuildRequest(
        onnx=str(order.onnx.absolute()),
        plan=str(engine.absolute()),
        product=product,
        targets=(order.target.name,),
        settings=order.settings,
        profiles=profiles_for(order.onnx, order.batches, order.sizes),
        timing_cache="" if timings is None else str(timings.absolute()),
        calibration_cache="" if calibration is None else str(calibration.absolute()),
    )
    return request, cautions


def _require_plain(settings: Settings) -> None:
    """What TensorRT-RTX refuses late or leaves out without an error."""
    asked = {
        "--version-compatible": settings.version_compatible,
        "--hardware-compatible": settings.hardware != "none",
    }
    for option, given in asked.items():
        if given:
            raise InputError(
                "not with TensorRT-RTX, whose plans run on later architectures as they are",
                where=option,
                hint="leave it out",
            )


def _require_dla(order: Order) -> None:
    """Whether the target reaches DLA, and by such a file."""
    target = order.target
    if target.dla == "none":
        raise InputError(
            f"{target.name} has no DLA", where="--dla", hint="leave it out: the GPU runs all layers"
        )
    if target.dla == "cache" and is_quantized(order.onnx):
        raise InputError(
            f"DLA takes no Q/DQ with {target.name}",
            where=str(order.onnx),
            hint=f"write the float form: detq export model.plain.onnx --target {target.name} "
            "--strip --output dla.onnx, and give its cache with --calibration-cache",
        )


def audit_of(side_car: SideCar) -> EngineAudit | None:
    """The layers of an engine beside what its file asks."""
    kernels = kernels_of(side_car)
    source = side_car.machine.title
    return audit_engine(kernels, asked=side_car.asked or None, source=source) if kernels else None


def kernels_of(side_car: SideCar | BuildAnswer) -> Sequence[Kernel]:
    """Layers, from the inspector or from a table; none where TensorRT did not tell them."""
    if side_car.layers_form == "table":
        return kernels_from_log(side_car.layers)
    if side_car.layers_form == "inspector":
        return kernels_from_inspector(side_car.layers, TITLES[side_car.machine.product])
    return ()


def _longest(product: Product) -> float | None:
    """Timing kernels takes as long as it takes; TensorRT-RTX times nothing."""
    return LONGEST if product == "tensorrt-rtx" else None
