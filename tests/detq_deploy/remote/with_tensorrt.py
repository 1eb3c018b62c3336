"""A device with TensorRT and nothing of detq: see ``device_with_tensorrt``."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.detq_deploy.trt.host_cuda.library import compiled
from tests.loopback import Device

HERE = Path(__file__).with_name("device_with_tensorrt")


def install_tensorrt(device: Device, *, python: bool = True) -> None:
    """``trtexec``, and ``python3`` with TensorRT's package."""
    device.program("trtexec", f'#!/bin/sh\nexec {sys.executable} {HERE / "trtexec"} "$@"\n')
    if python:
        install_python(device, sys.executable, HERE)
    else:
        device.program("python3", "#!/bin/sh\nexit 127\n")


def install_python(device: Device, interpreter: str, packages: Path | str) -> None:
    libraries = device.home.with_name("libraries")
    libraries.mkdir(exist_ok=True)
    shutil.copy(compiled(libraries), libraries / "libcudart.so.12")
    _compile(HERE / "libcuda.c", libraries / "libcuda.so.1")
    device.program(
        "python3",
        f"#!/bin/sh\nexport LD_LIBRARY_PATH={libraries} PYTHONPATH={packages} "
        f"HOST_CUDART={libraries}/libcudart.so.12 PYTHONDONTWRITEBYTECODE=1\n"
        f'exec {interpreter} "$@"\n',
    )


def _compile(source: Path, library: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    command = [compiler, "-shared", "-fPIC", "-include", "stddef.h", "-o", library, source]
    subprocess.run(command, check=True)


def as_engine(model: Path, engine: Path) -> Path:
    """An ONNX file as the device's TensorRT has its engines."""
    engine.write_bytes(b"ftrt" + model.read_bytes())
    return engine
