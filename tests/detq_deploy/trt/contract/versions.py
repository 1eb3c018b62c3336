"""The TensorRT versions whose real Python bindings our code is held against.

To add one: a line in ``VERSIONS``, then ``make test-tensorrt``. It has to have a wheel of bindings
on PyPI (``tensorrt-cu13-bindings`` and its kin; the libraries are not needed), and where its major
number is new, the sonames it loads go into ``LIBRARIES``.
"""

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[4]
CACHE = Path(os.environ.get("DETQ_TRT_CONTRACT") or ROOT / ".trt-contract")
HOW = "make test-tensorrt fetches NVIDIA's bindings"

LIBRARIES = {
    "8": ("nvinfer", "nvonnxparser", "nvinfer_plugin", "nvparsers"),
    "10": ("nvinfer", "nvonnxparser", "nvinfer_plugin"),
    "11": ("nvinfer", "nvonnxparser", "nvinfer_plugin"),
}


@dataclass(frozen=True)
class Version:
    """One set of bindings.

    Attributes:
        version: as ``10.3.0``.
        package: its wheel; empty for what is installed beside detq anyway.
        module: its import name.
        newest_python: the last that it has a wheel for; none if that does not end here.
    """

    version: str
    package: str
    module: str = "tensorrt_bindings"
    newest_python: tuple[int, int] | None = None

    def __str__(self) -> str:
        return self.version if self.package else f"rtx-{self.version}"

    @property
    def folder(self) -> Path:
        """Everything kept about it."""
        return CACHE / str(self)

    @property
    def site(self) -> Path:
        """Where its wheel is unpacked."""
        return self.folder / "site"

    @property
    def stubs(self) -> Path:
        """Holds ``tensorrt/*.pyi`` and ``enums.json``."""
        return self.folder / "stubs"

    @property
    def libraries(self) -> Path:
        """Stand-ins for NVIDIA's shared objects."""
        return self.folder / "lib"

    @property
    def missing(self) -> str:
        """Why it cannot be tested; empty if it can."""
        if not (self.stubs / "enums.json").is_file():
            return f"no TensorRT {self} in {CACHE.name}: {HOW}"
        return ""

    @property
    def not_importable(self) -> str:
        """Why its module cannot be imported by this Python; empty if it can."""
        if not self.package:
            return "" if find_spec(self.module) else f"{self.module} is not installed"
        tag = f"cp{sys.version_info.major}{sys.version_info.minor}-"
        wheels = [path.read_text() for path in self.site.glob("*.dist-info/WHEEL")]
        return "" if any(tag in text for text in wheels) else f"its wheel is not for {tag[:-1]}"


VERSIONS = (
    Version("8.6.1", "tensorrt-bindings", newest_python=(3, 11)),
    Version("10.3.0", "tensorrt-cu12-bindings", newest_python=(3, 12)),
    Version("10.13.3.9", "tensorrt-cu12-bindings", newest_python=(3, 13)),
    Version("10.16.1.11", "tensorrt-cu12-bindings", newest_python=(3, 13)),
    Version("11.4.0.106", "tensorrt-cu13-bindings"),
    Version("1.7.1", "", module="tensorrt_rtx_bindings"),
)
