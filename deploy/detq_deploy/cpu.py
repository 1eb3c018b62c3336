"""The processor under the engines: its name, the instructions that matter for INT8, its cores."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_DEVICE_TREE_MODEL = Path("/proc/device-tree/model")
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")

# Flag of the operating system → our name; the order is the order of ``CpuFeatures.isa``.
_FLAGS = {
    "sse4_1": "sse4_1",
    "avx": "avx",
    "f16c": "f16c",
    "fma": "fma",
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16",
    "avx_vnni": "avx_vnni",
    "avx_vnni_int8": "avx_vnni_int8",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
    "asimd": "neon",
    "asimddp": "neon_dotprod",
    "i8mm": "neon_i8mm",
    "sve": "sve",
    "sve2": "sve2",
}

# sysctl key of macOS → our name.
_SYSCTL_FLAGS = {
    "hw.optional.sse4_1": "sse4_1",
    "hw.optional.avx1_0": "avx",
    "hw.optional.f16c": "f16c",
    "hw.optional.fma": "fma",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.avx512vnni": "avx512_vnni",
    "hw.optional.neon": "neon",
    "hw.optional.arm.FEAT_DotProd": "neon_dotprod",
    "hw.optional.arm.FEAT_I8MM": "neon_i8mm",
}

# Best first: what the 8-bit kernels of an engine would choose.
_LABELS = {
    "amx_int8": "AMX",
    "avx512_vnni": "AVX512-VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX512",
    "avx2": "AVX2",
    "avx": "AVX",
    "sse4_1": "SSE4.1",
    "neon_i8mm": "NEON i8mm",
    "neon_dotprod": "NEON dotprod",
    "neon": "NEON",
}


@dataclass(frozen=True, slots=True)
class CpuFeatures:
    """One machine's processor as the operating system tells it.

    Attributes:
        model: name for people, such as ``Intel(R) Xeon(R) Processor``.
        architecture: ``x86_64``, ``aarch64``.
        isa: instruction sets that matter for inference, such as ``avx512_vnni``.
        physical_cores: of the machine.
        usable_cores: physical cores this process may keep busy: those of its affinity,
            fewer where a container has a quota. A sensible number of threads.
    """

    model: str
    architecture: str
    isa: tuple[str, ...]
    physical_cores: int
    usable_cores: int

    @property
    def isa_label(self) -> str:
        """The instruction set that decides about INT8, short: ``AMX``, ``AVX2``, ``NEON``."""
        found = (label for isa, label in _LABELS.items() if isa in self.isa)
        return next(found, self.architecture or "unknown")


def cpu_features() -> CpuFeatures:
    """What this machine has; unknown things degrade to what Python knows."""
    if _CPUINFO.is_file():
        return features_from_cpuinfo(
            _CPUINFO.read_text(errors="replace"),
            architecture=platform.machine(),
            usable=_affinity(),
            quota=quota_from_cpu_max(_read(_CPU_QUOTA)),
            board=_read(_DEVICE_TREE_MODEL),
        )
    if platform.system() == "Darwin":
        return features_from_sysctl(_sysctl(), platform.machine())
    cores = os.cpu_count() or 1
    model = platform.processor() or "unknown processor"
    return CpuFeatures(model, platform.machine(), (), cores, cores)


def features_from_cpuinfo(
    text: str,
    *,
    architecture: str,
    usable: Iterable[int],
    quota: float | None = None,
    board: str = "",
) -> CpuFeatures:
    """Read the text of Linux' ``/proc/cpuinfo``.

    Args:
        text: one paragraph of ``key : value`` lines per logical processor.
        architecture: as ``platform.machine()`` tells it.
        usable: numbers of the logical processors this process may run on.
        quota: processors' worth of time that a container may use; None without limit.
        board: name of the board, which replaces the empty model names of ARM.
    """
    processors = [_fields(block) for block in re.split(r"\n\s*\n", text)]
    processors = [fields for fields in processors if "processor" in fields]
    core_of = {int(p["processor"]): _core(p) for p in processors if p["processor"].isdigit()}
    mine = {core_of[number] for number in usable if number in core_of} or set(core_of.values())
    physical = len(set(core_of.values())) or os.cpu_count() or 1
    first = processors[0] if processors else {}
    flags = set((first.get("flags") or first.get("Features") or "").split())
    return CpuFeatures(
        model=board or first.get("model name") or "unknown processor",
        architecture=architecture,
        isa=tuple(name for flag, name in _FLAGS.items() if flag in flags),
        physical_cores=physical,
        usable_cores=max(1, min(len(mine) or physical, int(quota) if quota else physical)),
    )


def features_from_sysctl(values: Mapping[str, str], architecture: str) -> CpuFeatures:
    """Read the values that macOS' ``sysctl`` prints, key → value."""
    cores = int(values.get("hw.physicalcpu") or os.cpu_count() or 1)
    return CpuFeatures(
        model=values.get("machdep.cpu.brand_string") or "unknown processor",
        architecture=architecture,
        isa=tuple(name for key, name in _SYSCTL_FLAGS.items() if values.get(key) == "1"),
        physical_cores=cores,
        usable_cores=cores,
    )


def quota_from_cpu_max(text: str) -> float | None:
    """Processors that a control group may use; ``cpu.max`` is ``<quota|max> <period>``."""
    parts = text.split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts) or int(parts[1]) == 0:
        return None
    return int(parts[0]) / int(parts[1])


def _fields(block: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in block.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _core(fields: Mapping[str, str]) -> tuple[str, str]:
    # ARM and many virtual machines name no cores; there every processor is one.
    return fields.get("physical id", ""), fields.get("core id", f"processor {fields['processor']}")


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _sysctl() -> dict[str, str]:
    keys = [*_SYSCTL_FLAGS, "machdep.cpu.brand_string", "hw.physicalcpu"]
    try:
        # A key that this macOS does not know makes the exit status 1; the others are printed.
        printed = subprocess.run(
            ["sysctl", *keys], capture_output=True, text=True, timeout=5, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return _fields(printed)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""
