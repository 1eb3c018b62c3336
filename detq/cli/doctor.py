"""``detq doctor``."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from detq.cli.arguments import Count
from detq.cli.output import Output, number_of, print_table

if TYPE_CHECKING:
    from detq.extras import Extra
    from detq_deploy.trt.driver import Driver

# What each extra is for; in the order in which a newcomer needs them.
USES = {
    "quantize": "quantizing, simulation",
    "cpu": "INT8 on CPUs, and measuring there",
    "trt-check": "detq lint --nvidia: NVIDIA's own builder, without a GPU",
    "remote": "building and running on a device from here",
    "ray": "running the trials of a sweep on many machines",
    "dev": "tests and checks of detq itself",
    "ultralytics": "making test files; reading its checkpoints needs nothing",
}
_INT8 = {
    "fast": "INT8 by tensor cores",
    "slow": "INT8 without tensor cores: float16 may well be faster",
    "none": "no INT8: use float16",
}
_PRODUCTS = {None: "", True: "overflow: 7-bit weights", False: "exact: 8-bit weights"}
_WITHOUT_ANSWER = ("torch", "tensorrt")  # engines whose 8-bit products never overflow


class Engine(msgspec.Struct, frozen=True):
    """One engine on this machine.

    Attributes:
        name: as ``--backend`` takes it.
        use: what it is needed for.
        version: installed version; empty if it is not.
        saturates: whether 8-bit products overflow here; None where that cannot happen.
        remedy: what to do if it does not work.
    """

    name: str
    use: str
    version: str
    saturates: bool | None
    remedy: str


def doctor(
    *,
    device_check: Path | None = None,
    pictures: Count = 60,
    out: Output = Output(),  # noqa: B008 - frozen
) -> int:
    """Show what works on this machine, and the install line for what does not.

    With --device-check a small detector that detq brings along is written in float and INT8 for
    the engine that is here, built, audited, timed and scored; a Jetson's owner runs it once. Ends
    with 1 if a part of it failed.

    Example: detq doctor

    Example: detq doctor --device-check report.json

    Args:
        device_check: JSON file to write with what came of it.
        pictures: Number of drawn pictures to score on.
        out: How the result is told.
    """
    if device_check is not None:
        from detq.cli.device_check import check_device

        return check_device(device_check, pictures, out)
    from detq.extras import extras
    from detq_deploy.backends import BACKENDS
    from detq_deploy.cpu import cpu_features
    from detq_deploy.trt.driver import probe_driver

    cpu = cpu_features()
    driver = probe_driver()
    engines = [_engine(name) for name in dict.fromkeys([*BACKENDS, "tensorrt"])]
    found = sorted(extras(), key=lambda extra: [*USES, extra.name].index(extra.name))
    figures = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu.model,
        "isa": cpu.isa_label,
        "cores": cpu.usable_cores,
        "gpu": driver,
        "engines": engines,
        "extras": [
            {"name": e.name, "use": USES.get(e.name, ""), "versions": e.versions,
             "install": e.install}
            for e in found
        ],
    }  # fmt: skip

    def show() -> None:
        print(f"Python {figures['python']} on {figures['platform']}")
        print(f"{cpu.model}, {number_of(cpu.usable_cores, 'core')}, INT8 by {cpu.isa_label}")
        print(_gpu(driver))
        _show_engines(engines)
        _show_extras(found)
        _show_remedies({e.name: e.remedy for e in engines} | {e.name: e.install for e in found})

    out.tell(figures, show)
    return 0


def _gpu(driver: "Driver | None") -> str:
    if driver is None:
        return "no NVIDIA driver: engines for a GPU are built and measured on the device itself"
    from detq_deploy.gpu_int8 import int8_speed

    about = f"NVIDIA driver {driver.version or '(version not told)'}, CUDA {driver.cuda}"
    gpus = [
        f"{gpu.name} ({gpu.sm}, {gpu.memory_mib:,} MiB, {_INT8[int8_speed(gpu.sm)]})"
        for gpu in driver.gpus
    ]
    return f"{about}: {', '.join(gpus) or 'no GPU; in a container, start it with --gpus all'}"


def _show_engines(engines: Sequence[Engine]) -> None:
    columns = ["engine", "used for", "version", "8-bit products"]
    rows = [[e.name, e.use, e.version or "missing", _PRODUCTS[e.saturates]] for e in engines]
    print_table("", columns, rows, words=columns)


def _show_extras(found: "Sequence[Extra]") -> None:
    columns = ["extra", "used for", "here"]
    rows = [[extra.name, USES.get(extra.name, ""), _here(extra)] for extra in found]
    print_table("", columns, rows, words=columns)


def _show_remedies(remedies: Mapping[str, str]) -> None:
    # Not in a table, which would fold what is to be copied.
    for name, remedy in remedies.items():
        if remedy:
            print(f"for {name}: {remedy}")


def _here(extra: "Extra") -> str:
    if not extra.versions:
        return "not for this platform"
    return "yes" if not extra.install else "partly" if any(extra.versions.values()) else "no"


def _engine(name: str) -> Engine:
    from detq.errors import TargetError
    from detq_deploy.saturation import probe

    use = {"torch": USES["quantize"], "tensorrt": "running models on a GPU"}.get(
        name, "running models"
    )
    try:
        version = _version(name)
    except TargetError as error:
        return Engine(name, use, "", None, error.hint)
    saturates = None if name in _WITHOUT_ANSWER else probe(name).saturates
    return Engine(name, use, version, saturates, "")


def _version(name: str) -> str:
    """Loads the engine, for an installed one may not work.

    Raises:
        TargetError: it is not installed, does not load, or is of another age.
    """
    from detq_deploy.engines import import_engine
    from detq_deploy.trt.load import load_tensorrt

    if name == "tensorrt":
        return load_tensorrt().version
    return str(import_engine(name).__version__).split("-")[0]
