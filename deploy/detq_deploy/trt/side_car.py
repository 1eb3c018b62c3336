"""The JSON file beside an engine: what it was made of, with what, and what it can run on.

The engine itself stays a plain plan, which trtexec and ``tensorrt.Runtime`` read.
"""

from pathlib import Path

import msgspec

from detq import __version__
from detq.errors import InputError, TargetError
from detq.run_dir import file_hash
from detq.whole_file import told, written_whole
from detq_deploy.trt.load import TITLES, version_parts
from detq_deploy.trt.machine import Machine
from detq_deploy.trt.request import (
    Binding,
    BuildAnswer,
    BuildRequest,
    LayersForm,
    Profile,
    Settings,
)

_AGAIN = "build it here: detq build"


class SideCar(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an engine.

    Attributes:
        detq: version that wrote it.
        onnx: name of the file it was built from.
        onnx_sha256: of that file.
        engine_sha256: of the engine.
        engine_bytes: its size.
        machine: it was built with, and needs.
        settings: choices of the one who built it.
        profiles: shapes it takes, of the inputs whose shape varies.
        inputs: of the engine.
        outputs: of the engine.
        metadata: of the ONNX file, with the detector's contract.
        asked: ONNX name of every layer with weights → whether the file asks for INT8; nothing of
            a float file.
        flags: of the builder, by name.
        seconds: the build took.
        warnings: NVIDIA's and ours.
        layers: see ``BuildAnswer``.
        layers_form: see ``BuildAnswer``.
    """

    detq: str = __version__
    onnx: str
    onnx_sha256: str
    engine_sha256: str
    engine_bytes: int
    machine: Machine
    settings: Settings = Settings()
    profiles: tuple[Profile, ...] = ()
    inputs: tuple[Binding, ...] = ()
    outputs: tuple[Binding, ...] = ()
    metadata: dict[str, str] = {}
    asked: dict[str, bool] = {}
    flags: tuple[str, ...] = ()
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    layers: str = ""
    layers_form: LayersForm = "none"


def side_car_of(
    request: BuildRequest,
    answer: BuildAnswer,
    metadata: dict[str, str],
    asked: dict[str, bool],
) -> SideCar:
    """The side-car of what was built.

    Args:
        request: what was to be built.
        answer: how it went.
        metadata: of the ONNX file.
        asked: see ``SideCar``.
    """
    return SideCar(
        onnx=request.path.name,
        onnx_sha256=file_hash(request.path),
        engine_sha256=answer.plan_sha256,
        engine_bytes=answer.plan_bytes,
        machine=answer.machine,
        settings=request.settings,
        profiles=request.profiles,
        inputs=answer.inputs,
        outputs=answer.outputs,
        metadata=metadata,
        asked=asked,
        flags=answer.flags,
        seconds=answer.seconds,
        warnings=answer.warnings,
        layers=answer.layers,
        layers_form=answer.layers_form,
    )


def side_car_path(engine: Path) -> Path:
    """``model.engine`` → ``model.engine.json``."""
    return engine.with_name(f"{engine.name}.json")


def write_side_car(side_car: SideCar, engine: Path) -> None:
    """Write the file beside ``engine``."""
    with written_whole(side_car_path(engine)) as path:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(side_car), indent=2) + b"\n")


def read_side_car(engine: Path) -> SideCar:
    """Read the file beside ``engine``.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = side_car_path(engine)
    if not path.is_file():
        raise InputError(
            f"has no {path.name} beside it, which says what it was built with",
            where=str(engine),
            hint="copy both files, or build the engine with detq build",
        )
    try:
        with told(path, "cannot be read"):
            return msgspec.json.decode(path.read_bytes(), type=SideCar)
    except msgspec.MsgspecError as error:
        raise InputError(f"is damaged: {error}", where=str(path), hint=_AGAIN) from error


def check_whole(side_car: SideCar, engine: Path) -> None:
    """Whether the engine is the one that the side-car is of.

    Raises:
        InputError: it is missing, truncated, or another.
    """
    if not engine.is_file():
        raise InputError("no such file", where=str(engine), hint="give the path of an engine")
    size = engine.stat().st_size
    if size != side_car.engine_bytes:
        raise InputError(
            f"has {size:,} bytes, not the {side_car.engine_bytes:,} that were built",
            where=str(engine),
            hint=f"copy it again, or {_AGAIN}",
        )
    if file_hash(engine) != side_car.engine_sha256:
        raise InputError(
            "is not the engine that its .json is of",
            where=str(engine),
            hint=f"copy both files again, or {_AGAIN}",
        )


def check_here(side_car: SideCar, machine: Machine, where: str) -> str:
    """Whether an engine can run here; to be asked before TensorRT sees it.

    Args:
        side_car: of the engine.
        machine: that is to run it.
        where: the engine, for messages.

    Returns:
        what should be known although it may run; empty where nothing is.

    Raises:
        TargetError: it cannot; both sides are named.
    """
    built, asked = side_car.machine, side_car.settings
    both = f"built with {built.title}, here is {machine.title}"
    if built.product != machine.product:
        raise TargetError(
            f"runs in {TITLES[built.product]} alone: {both}", where=where, hint=_AGAIN
        )
    if built.platform and machine.platform and built.platform != machine.platform:
        raise TargetError(
            f"was built on {built.platform}, this is {machine.platform}", where=where, hint=_AGAIN
        )
    if not _same_version(built, machine, compatible=asked.version_compatible):
        raise TargetError(f"is of another version: {both}", where=where, hint=_AGAIN)
    if not _same_gpu(built, machine, asked):
        raise TargetError(f"is for another GPU: {both}", where=where, hint=_AGAIN)
    if built.gpu and built.gpu != machine.gpu and asked.hardware == "none":
        return f"{where} was built on {built.gpu}, this is {machine.gpu}: its speed may differ"
    return ""


def _same_version(built: Machine, machine: Machine, *, compatible: bool) -> bool:
    """Plans are of one exact version, unless built to go on with later ones."""
    of_plan, of_machine = version_parts(built.tensorrt), version_parts(machine.tensorrt)
    if compatible:
        return of_machine >= of_plan
    # trtexec says 8.5.2 where the module says 8.5.2.2.
    return all(a == b for a, b in zip(of_plan, of_machine, strict=False))


def _same_gpu(built: Machine, machine: Machine, asked: Settings) -> bool:
    if asked.hardware == "ampere":
        return int(machine.sm.removeprefix("sm") or 0) >= 80
    if not built.gpu and built.product == "tensorrt-rtx":  # one plan for an architecture and later
        return int(machine.sm.removeprefix("sm") or 0) >= int(built.sm.removeprefix("sm") or 0)
    return built.sm == machine.sm


def read_engine(engine: Path, machine: Machine) -> tuple[bytes, SideCar, str]:
    """A plan that may be given to TensorRT here.

    Returns:
        the plan, what is known of it, and what should be known (see ``check_here``).

    Raises:
        InputError: it is missing, truncated, or has no side-car.
        TargetError: it is of another version or GPU.
    """
    side_car = read_side_car(engine)
    warning = check_here(side_car, machine, str(engine))
    check_whole(side_car, engine)
    with told(engine, "cannot be read"):
        return engine.read_bytes(), side_car, warning
