"""``detq build``."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from detq.cli.arguments import Flag, TargetName
from detq.cli.output import Output, number_of
from detq.errors import InputError

if TYPE_CHECKING:
    from detq.target import Target
    from detq_deploy.lint import Finding
    from detq_deploy.trt.make import Made, Order

Arch = Literal["sm80", "sm86", "sm89", "sm120", "sm121"]
TypingName = Literal["weak", "strong"]
HardwareName = Literal["none", "ampere", "same-sm"]
Level = Annotated[int, Parameter(validator=Number(gte=0, lte=5))]
Mebibytes = Annotated[int, Parameter(validator=Number(gte=0))]
Core = Annotated[int, Parameter(validator=Number(gte=0))]

_STEPS = 1000  # of the progress bar
_SHOWN = 8


def build(
    model: Path,
    /,
    *,
    target: TargetName | None = None,
    output: Path | None = None,
    typing: TypingName | None = None,
    batch: Annotated[list[str] | None, Parameter(negative=())] = None,
    size: str | None = None,
    workspace: Mebibytes = 0,
    optimization_level: Level | None = None,
    timing_cache: Path | None = None,
    version_compatible: Flag = False,
    hardware_compatible: HardwareName = "none",
    dla: Core | None = None,
    calibration_cache: Path | None = None,
    sparse: Flag = False,
    arch: Arch = "sm86",
    beside: Path | None = None,
    check: bool = True,
    print_trtexec: Flag = False,
    on: str | None = None,
    out: Output = Output(),  # noqa: B008 - frozen
) -> int:
    """Build a TensorRT engine of an ONNX file, and look at what became of its layers.

    Writes model.engine, which trtexec reads too, and model.engine.json. Ends with 1 if NVIDIA
    refuses the file, or the engine computes something else than it.

    Example: detq build model.trt10.3.onnx

    Example: detq build model.trt-rtx.onnx --beside float16.onnx

    Example: detq build model.trt8.5.onnx --target jetpack5.1 --print-trtexec

    Args:
        model: ONNX file, float or Q/DQ.
        target: TensorRT or JetPack that the engine is for; the one the file is written for, if
            not given. trt-rtx builds without a GPU.
        output: Engine to write; beside the model if not given.
        typing: Strong computes every tensor in the type that the file gives it; weak lets
            TensorRT choose float16 where there is no Q/DQ (8.4 to 10.16). As the target does, if
            not given.
        batch: Images at a time, where the file leaves it open: 4, or 1:4:8 for least, usual and
            most; 1 if not given. Several give a profile each.
        size: Pixels, where the file leaves them open: 640, 384x640 (height x width), or
            320:640:960 for least, usual and most.
        workspace: Mebibytes that a layer may use; all of them if 0.
        optimization_level: 0 (quick to build) to 5 (quick to run); TensorRT 8.6 and later.
        timing_cache: Folder that keeps what was timed, for the next build of the same.
        version_compatible: Later versions of TensorRT can run the engine too; 8.6 and later.
        hardware_compatible: Other GPUs can run it: from Ampere on, or of the same architecture.
        dla: DLA core of a Jetson; what it cannot do runs on the GPU.
        calibration_cache: Scales for DLA, with the float file of detq export --strip.
        sparse: Use sparse kernels where two of four weights are 0.
        arch: GPU architecture to compile for, with --target trt-rtx.
        beside: The float ONNX file of the same network; built too, and compared in size and time.
        check: Run the engine beside its ONNX file, where a GPU is.
        print_trtexec: Print the trtexec command that builds the same, and build nothing.
        on: Device to build on, user@host or user@host:port, by ssh: with its detq, else its
            trtexec. Engine and side-car come back.
        out: How the result is told.
    """
    from detq.whole_file import require_apart
    from detq_deploy.trt.make import Order
    from detq_deploy.trt.profiles import batch_span, size_span
    from detq_deploy.trt.request import Settings

    engine = output or model.with_suffix(".engine")
    require_apart(engine, model, beside)
    chosen = _target(model, target)
    rtx = chosen.engine == "tensorrt-rtx"
    # A cache is for implicit precision, which a strongly typed network has not.
    strong = chosen.strongly_typed and calibration_cache is None
    if typing is not None:
        strong = typing == "strong"
    order = Order(
        onnx=model,
        target=chosen,
        settings=Settings(
            typing="strong" if strong else "weak",
            int8=_has_int8(model, calibration_cache),
            workspace_mib=workspace,
            optimization_level=optimization_level,
            version_compatible=version_compatible,
            hardware=hardware_compatible,
            dla_core=dla,
            sparse=sparse,
            arch=arch if rtx else "",
        ),
        batches=tuple(batch_span(text) for text in batch or ()),
        sizes=None if size is None else size_span(size),
        timing_cache=timing_cache,
        calibration_cache=calibration_cache,
    )
    if print_trtexec:
        return _print_trtexec(order, engine, out)
    if on is not None:
        if beside is not None or timing_cache is not None:
            raise InputError(
                "--beside and --timing-cache work here alone",
                where="--on",
                hint=f"build the float file too, and give both engines to detq bench --on {on}",
            )
        given = {
            "target": chosen.name, "typing": typing, "batch": batch, "size": size,
            "workspace": workspace or None, "optimization_level": optimization_level,
            "version_compatible": version_compatible,
            "hardware_compatible": None if hardware_compatible == "none" else hardware_compatible,
            "dla": dla, "sparse": sparse, "arch": arch if rtx else None,
        }  # fmt: skip
        return _build_there(order, engine, on, given, out, check=check and not rtx)
    return _build(order, engine, beside, out, check=check and not rtx)


def _target(model: Path, name: str | None) -> "Target":
    from detq_deploy.targets import TENSORRT, target_named
    from detq_deploy.trt.dialect import target_of_file

    if name is not None:
        return target_named(name)
    written_for = target_of_file(model)
    if written_for not in TENSORRT:
        raise InputError(
            "does not say which TensorRT it is for",
            where=str(model),
            hint="give --target: trt10.3, jetpack6.2 and the like; trt-rtx needs no GPU",
        )
    return target_named(written_for)


def _has_int8(model: Path, cache: Path | None) -> bool:
    from detq_deploy.trt.dialect import is_quantized

    return cache is not None or is_quantized(model)


def _print_trtexec(order: "Order", engine: Path, out: Output) -> int:
    from detq_deploy.trt.make import request_for
    from detq_deploy.trt.trtexec import trtexec_command, trtexec_text

    request, cautions = request_for(order, engine)
    version = order.target.version
    words = trtexec_command(request, version, onnx=str(order.onnx), engine=str(engine))
    for caution in cautions:
        out.warn(caution)
    figures = {"tensorrt": version, "command": words}
    out.tell(figures, lambda: print(trtexec_text(words)))
    return 0


def _build(order: "Order", engine: Path, beside: Path | None, out: Output, *, check: bool) -> int:
    from detq_deploy.trt.make import make_engine
    from detq_deploy.trt.verify import check_sister, compared_with_reference, compared_with_sister

    if beside is not None:
        check_sister(order, beside)
    with out.progress(f"building {engine.name}", _STEPS) as progress:
        made = make_engine(order, engine, lambda phase, part: progress(int(_STEPS * part)))
    findings: list[Finding] = list(made.findings)
    figures: dict[str, Any] = {"engine": str(engine), "engine_json": _told(made)}
    if made.side_car is not None:
        if check:
            figures["outputs"], found = compared_with_reference(order.onnx, engine, out.warn)
            findings += found
        if beside is not None:
            with out.progress(f"building {beside.name}", _STEPS) as progress:
                figures["sister"], found = compared_with_sister(
                    order, made, engine, beside,
                    lambda phase, part: progress(int(_STEPS * part)), run=check,
                )  # fmt: skip
            findings += found
    return _finish(made, engine, findings, figures, out)


def _build_there(
    order: "Order",
    engine: Path,
    on: str,
    given: Mapping[str, object],
    out: Output,
    *,
    check: bool,
) -> int:
    from detq.cli.options import words_from
    from detq_deploy.remote.build import Tellers, build_there
    from detq_deploy.remote.host import host_from
    from detq_deploy.remote.serving import RemoteRunner
    from detq_deploy.trt.verify import compared_with_reference

    host = host_from(on)
    # It is looked at from here, by the same eyes whatever built it.
    words = [*words_from(given), "--no-check"]

    def arrived(what: str) -> Callable[[int, int], None]:
        return lambda done, total: (
            out.note(f"{what}, {total / 1e6:.1f} MB") if done == total else None
        )

    tell = Tellers(
        line=out.note,
        sent=arrived(f"{order.onnx.name} is on {on}"),
        fetched=arrived(f"{engine.name} is here"),
    )
    made = build_there(host, order, engine, words, tell=tell)
    findings: list[Finding] = list(made.findings)
    figures: dict[str, Any] = {"engine": str(engine), "engine_json": _told(made), "on": on}
    if made.side_car is not None and check:
        figures["outputs"], found = compared_with_reference(
            order.onnx, engine, out.warn, lambda engine: RemoteRunner(host, engine)
        )
        findings += found
    return _finish(made, engine, findings, figures, out)


def _finish(
    made: "Made", engine: Path, findings: "list[Finding]", figures: dict[str, Any], out: Output
) -> int:
    for warning in made.warnings:
        out.warn(warning)
    figures |= {"findings": findings, "warnings": made.warnings, "layers": _layers(made)}
    out.tell(figures, lambda: _show(made, engine, findings, figures))
    return 1 if any(finding.severity == "error" for finding in findings) else 0


def _told(made: "Made") -> dict[str, Any] | None:
    """The side-car without what the engine says of every layer."""
    if made.side_car is None:
        return None
    found: dict[str, Any] = msgspec.to_builtins(made.side_car)
    return {key: found[key] for key in found if key not in ("layers", "asked")}


def _layers(made: "Made") -> dict[str, Any] | None:
    audit = made.audit
    if audit is None:
        return None
    return {
        "kernels": audit.kinds,
        "asked_int8": audit.asked_int8,
        "in_float": audit.in_float,
        "helpers": audit.helpers,
        "int8_share_of_products": audit.int8_share,
    }


def _show(
    made: "Made", engine: Path, findings: "Sequence[Finding]", figures: dict[str, Any]
) -> None:
    for finding in findings[:_SHOWN]:
        place = f"{finding.node}: " if finding.node else ""
        print(f"{finding.severity} {finding.rule}: {place}{finding.what}; {finding.remedy}")
    if len(findings) > _SHOWN:
        print(f"and {len(findings) - _SHOWN} more findings")
    if made.side_car is None:
        print("no engine was written")
        return
    car, audit = made.side_car, made.audit
    print(f"{engine}: {car.machine.title}, {car.engine_bytes / 1e6:.1f} MB in {car.seconds:.1f} s")
    if audit is not None:
        if audit.asked_int8 is not None:
            ran = audit.asked_int8 - len(audit.in_float) - len(audit.missing)
            print(f"{ran} of {number_of(audit.asked_int8, 'layer')} that ask for INT8 have it")
        share = "" if audit.int8_share is None else f", {100 * audit.int8_share:.1f} % in INT8"
        print(f"{audit.macs / 1e9:.2f} G products{share}; ", end="")
        print(f"{number_of(audit.helpers, 'kernel')} between the layers")
    for gap in figures.get("outputs", ()):
        print(f"{gap.output}: cosine {gap.cosine:.5f} with the ONNX file, up to {gap.largest:.4g}")
    if "sister" in figures:
        print(figures["sister"].text)
