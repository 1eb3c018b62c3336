"""The NVIDIA driver, asked through its C interface, so that asking never ends the process.

TensorRT must not be asked: without a driver, ``tensorrt.Runtime`` of 8.6 is a segmentation fault.
"""

import ctypes
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detq.errors import TargetUnavailableError

LIBRARIES = ("libcuda.so.1", "libcuda.so", "nvcuda.dll")
VERSION_FILE = Path("/proc/driver/nvidia/version")

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_…
_NO_DEVICE = 100
_NAME_BYTES = 256
_VERSION = re.compile(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s")


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU.

    Attributes:
        index: CUDA's.
        name: such as ``Orin`` or ``NVIDIA H200``.
        sm: architecture, such as ``sm87``.
        memory_mib: all of it; on a Jetson that of the whole machine.
    """

    index: int
    name: str
    sm: str
    memory_mib: int


@dataclass(frozen=True)
class Driver:
    """The driver and what it drives.

    Attributes:
        version: such as ``580.65.06``; empty where the system does not say.
        cuda: newest CUDA it runs, such as ``13.0``.
        gpus: in CUDA's order.
    """

    version: str
    cuda: str
    gpus: tuple[Gpu, ...]


def probe_driver(libraries: Sequence[str] = LIBRARIES) -> Driver | None:
    """The driver of this machine; None where there is none, or it does not start."""
    cuda = _open(libraries)
    if cuda is None:
        return None
    code = cuda.cuInit(0)
    if code not in (0, _NO_DEVICE):
        return None
    number = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(number))
    major, minor = divmod(number.value, 1000)
    gpus = () if code == _NO_DEVICE else tuple(_gpus(cuda))
    return Driver(_version(), f"{major}.{minor // 10}", gpus)


def require_gpu(libraries: Sequence[str] = LIBRARIES) -> tuple[Driver, Gpu]:
    """The driver and its first GPU.

    Raises:
        TargetUnavailableError: there is no driver or no GPU.
    """
    found = probe_driver(libraries)
    if found is None:
        raise TargetUnavailableError(
            "there is no NVIDIA driver here that starts",
            hint="TensorRT needs a GPU: run this on the device, or with --target trt-rtx, which "
            "builds without one",
        )
    if not found.gpus:
        raise TargetUnavailableError(
            f"the NVIDIA driver {found.version} has no GPU".replace("  ", " "),
            hint="see nvidia-smi; in a container: start it with --gpus all or --runtime nvidia",
        )
    return found, found.gpus[0]


def _open(libraries: Sequence[str]) -> Any | None:
    for name in libraries:
        with suppress(OSError):
            return ctypes.CDLL(name)
    return None


def _gpus(cuda: Any) -> list[Gpu]:
    count = ctypes.c_int()
    cuda.cuDeviceGetCount(ctypes.byref(count))
    return [_gpu(cuda, index) for index in range(count.value)]


def _gpu(cuda: Any, index: int) -> Gpu:
    device = ctypes.c_int()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    name = ctypes.create_string_buffer(_NAME_BYTES)
    cuda.cuDeviceGetName(name, _NAME_BYTES, device)
    size = ctypes.c_size_t()
    cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    parts = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        parts.append(value.value)
    sm = f"sm{parts[0]}{parts[1]}"
    return Gpu(index, name.value.decode(errors="replace"), sm, size.value >> 20)


def _version() -> str:
    try:
        found = _VERSION.search(VERSION_FILE.read_text())
    except OSError:
        return ""
    return found[1] if found else ""
