"""The builder's choices, as each version of TensorRT takes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detq.errors import TargetError
from detq_deploy.trt.calibration import new_calibrator
from detq_deploy.trt.enums import required
from detq_deploy.trt.profiles import add_profiles
from detq_deploy.trt.request import BuildRequest, Hardware, Settings

if TYPE_CHECKING:
    import tensorrt as trt

_HARDWARE: Mapping[Hardware, str] = {
    "ampere": "AMPERE_PLUS",
    "same-sm": "SAME_COMPUTE_CAPABILITY",
}


@dataclass(frozen=True)
class Configured:
    """A builder that knows what to do.

    Attributes:
        config: TensorRT's.
        flags: that were set, by name.
        kept: objects that have to live as long as the build does.
    """

    config: "trt.IBuilderConfig"
    flags: tuple[str, ...]
    kept: tuple[Any, ...]


def configure(builder: "trt.Builder", request: BuildRequest, monitor: Any | None) -> Configured:
    """Everything that was chosen, told to the builder.

    Args:
        builder: TensorRT's.
        request: what to build.
        monitor: of ``new_monitor``.

    Raises:
        TargetError: this TensorRT or GPU cannot do what was asked for.
    """
    import tensorrt as trt

    settings = request.settings
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if settings.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mib << 20)
    flags = flags_of(settings)
    for name in flags:
        config.set_flag(required(trt.BuilderFlag, name, _OPTIONS[name]))
    if settings.own_kernels:
        config.set_tactic_sources(0)
    _set_level(config, settings)
    _set_hardware(config, settings)
    _set_architecture(config, settings)
    _set_device(builder, config, request)
    add_profiles(builder, config, request.profiles)
    if monitor is not None and hasattr(config, "progress_monitor"):
        config.progress_monitor = monitor
    calibrator = _calibrator(config, request)
    return Configured(config, flags, tuple(x for x in (monitor, calibrator) if x is not None))


_OPTIONS = {
    "FP16": "--typing weak",
    "INT8": "--typing weak",
    "VERSION_COMPATIBLE": "--version-compatible",
    "SPARSE_WEIGHTS": "--sparse",
    "GPU_FALLBACK": "--dla",
}


def flags_of(settings: Settings) -> tuple[str, ...]:
    """Names of the builder's flags for some choices.

    In a strongly typed network the types are the file's; precision flags would be refused. In a
    weakly typed one INT8 always comes with FP16: layers without Q/DQ would else be float32.
    """
    weak = settings.typing == "weak"
    wanted = {
        "FP16": weak and settings.fp16,
        "INT8": weak and settings.int8,
        "VERSION_COMPATIBLE": settings.version_compatible,
        "SPARSE_WEIGHTS": settings.sparse,
        "GPU_FALLBACK": settings.dla_core is not None,
    }
    return tuple(name for name, set_ in wanted.items() if set_)


def _set_level(config: "trt.IBuilderConfig", settings: Settings) -> None:
    if settings.optimization_level is None:
        return
    if not hasattr(config, "builder_optimization_level"):
        raise _missing("--optimization-level")
    config.builder_optimization_level = settings.optimization_level


def _set_hardware(config: "trt.IBuilderConfig", settings: Settings) -> None:
    if settings.hardware == "none":
        return
    import tensorrt as trt

    if not hasattr(config, "hardware_compatibility_level"):
        raise _missing("--hardware-compatible")
    config.hardware_compatibility_level = required(
        trt.HardwareCompatibilityLevel, _HARDWARE[settings.hardware], "--hardware-compatible"
    )


def _set_architecture(config: "trt.IBuilderConfig", settings: Settings) -> None:
    if not settings.arch:
        return
    import tensorrt as trt

    if not (hasattr(config, "num_compute_capabilities") and hasattr(trt, "ComputeCapability")):
        raise _missing("--arch")
    config.num_compute_capabilities = 1
    chosen = required(trt.ComputeCapability, settings.arch.upper(), "--arch")
    if hasattr(config, "set_compute_capability"):
        config.set_compute_capability(chosen, 0)


def _set_device(
    builder: "trt.Builder", config: "trt.IBuilderConfig", request: BuildRequest
) -> None:
    core = request.settings.dla_core
    if core is None:
        return
    import tensorrt as trt

    if core >= builder.num_DLA_cores:
        raise TargetError(
            f"there is no DLA core {core}: this TensorRT and GPU have {builder.num_DLA_cores}",
            where="--dla",
            hint="leave it out; Orin Nano and Thor have none, and TensorRT 10.8 to 11.3 use none",
        )
    if not all(shapes.fixed for profile in request.profiles for shapes in profile.values()):
        raise TargetError(
            "DLA takes one shape alone", where="--dla", hint="give one --batch and one --size"
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core


def _calibrator(config: "trt.IBuilderConfig", request: BuildRequest) -> Any | None:
    if not request.calibration_cache:
        return None
    calibrator = new_calibrator(Path(request.calibration_cache))
    if hasattr(config, "int8_calibrator"):
        config.int8_calibrator = calibrator
    return calibrator


def _missing(option: str) -> TargetError:
    import tensorrt as trt

    return TargetError(
        f"TensorRT {trt.__version__} cannot do that", where=option, hint="leave it out"
    )
