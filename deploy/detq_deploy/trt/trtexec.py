"""The same build as a trtexec command, for devices without Python."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from detq.errors import InputError
from detq_deploy.trt.load import version_parts
from detq_deploy.trt.request import BuildRequest, Hardware, Profile, Shapes

Version = tuple[int, ...]

_LEVELS: Version = (8, 6)  # the first with levels, compatibility, --skipInference
_SAME_SM: Version = (10, 9)
_HARDWARE: Mapping[Hardware, str] = {"ampere": "ampere+", "same-sm": "sameComputeCapability"}


def trtexec_command(
    request: BuildRequest, version: str, *, onnx: str, engine: str
) -> tuple[str, ...]:
    """Words of the command.

    Args:
        request: what to build.
        version: of the TensorRT on the device, such as ``8.5``.
        onnx: path of the file there.
        engine: path there to write.

    Raises:
        InputError: that version cannot do what was asked for, or has another tool.
    """
    if request.product == "tensorrt-rtx":
        raise InputError(
            "TensorRT-RTX has no trtexec", where="--print-trtexec", hint="leave it out"
        )
    if len(request.profiles) > 1:
        raise InputError(
            "trtexec builds one profile", where="--print-trtexec", hint="give --batch once"
        )
    known = version_parts(version)
    return (
        "trtexec",
        f"--onnx={onnx}",
        f"--saveEngine={engine}",
        *_precision(request, known),
        *_choices(request, known),
        *(word for profile in request.profiles for word in _shapes(profile)),
        *_device(request),
        "--profilingVerbosity=detailed",
        f"--exportLayerInfo={engine}.layers.json",
        "--skipInference" if known >= _LEVELS else "--buildOnly",
    )


def trtexec_text(words: Sequence[str]) -> str:
    """The command as a shell takes it."""
    return shlex.join(words)


def _precision(request: BuildRequest, version: Version) -> Iterator[str]:
    settings = request.settings
    if settings.typing == "strong":
        if version < (10,):
            raise _cannot(version, "--typing strong")
        if version < (11,):  # later on every network is
            yield "--stronglyTyped"
        return
    if version >= (11,):
        raise _cannot(version, "--typing weak")
    if settings.fp16:
        yield "--fp16"
    if settings.int8:
        yield "--int8"
    if request.calibration_cache:
        yield f"--calib={request.calibration_cache}"


def _choices(request: BuildRequest, version: Version) -> Iterator[str]:
    settings = request.settings
    if settings.workspace_mib:
        yield f"--memPoolSize=workspace:{settings.workspace_mib}"
    if settings.sparse:
        yield "--sparsity=enable"
    if settings.optimization_level is not None:
        yield f"--builderOptimizationLevel={settings.optimization_level}"
        _require(version, _LEVELS, "--optimization-level")
    if settings.version_compatible:
        yield "--versionCompatible"
        _require(version, _LEVELS, "--version-compatible")
    if settings.hardware != "none":
        yield f"--hardwareCompatibilityLevel={_HARDWARE[settings.hardware]}"
        least = _SAME_SM if settings.hardware == "same-sm" else _LEVELS
        _require(version, least, "--hardware-compatible")
    if request.timing_cache:
        yield f"--timingCacheFile={request.timing_cache}/{request.path.stem}.timing"


def _shapes(profile: Profile) -> Iterator[str]:
    options: Mapping[str, Callable[[Shapes], Sequence[int]]] = {
        "min": lambda span: span.least,
        "opt": lambda span: span.usual,
        "max": lambda span: span.most,
    }
    for option, part in options.items():
        spans = ",".join(f"{name}:{_dims(part(span))}" for name, span in profile.items())
        yield f"--{option}Shapes={spans}"


def _dims(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _device(request: BuildRequest) -> Iterator[str]:
    if request.settings.dla_core is not None:
        yield f"--useDLACore={request.settings.dla_core}"
        yield "--allowGPUFallback"


def _require(version: Version, least: Version, option: str) -> None:
    if version < least:
        raise _cannot(version, option)


def _cannot(version: Version, option: str) -> InputError:
    text = ".".join(map(str, version))
    return InputError(f"TensorRT {text} cannot do that", where=option, hint="leave it out")
