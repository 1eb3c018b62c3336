"""Finding TensorRT's Python module, under whichever name it was installed.

Afterwards a function that needs it says ``import tensorrt as trt``: one name for the tarball's and
the apt package's ``tensorrt``, the wheels' ``tensorrt_bindings``, and TensorRT-RTX, whose surface
is that of TensorRT 11. Nothing here touches a GPU or the driver.
"""

import importlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from detq.errors import TargetError, TargetUnavailableError

Product = Literal["tensorrt", "tensorrt-rtx"]

MODULES: Mapping[Product, tuple[str, ...]] = {
    "tensorrt": ("tensorrt", "tensorrt_bindings"),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
TITLES: Mapping[Product, str] = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
INSTALL: Mapping[Product, str] = {
    "tensorrt": "on a Jetson: apt install python3-libnvinfer, with the system's Python; "
    "elsewhere: pip install tensorrt",
    "tensorrt-rtx": "pip install 'detq[trt-check]'",
}

_BROKEN = "install TensorRT's libraries of the same version, and let LD_LIBRARY_PATH name them"

OLDEST = (8, 4)
NEWEST = 11  # major number; a later minor one adds, it takes nothing away


@dataclass(frozen=True)
class Loaded:
    """The module that was found.

    Attributes:
        product: whose module it is.
        version: as it says itself, such as ``10.3.0``.
    """

    product: Product
    version: str

    @property
    def parts(self) -> tuple[int, ...]:
        """Numbers of the version."""
        return version_parts(self.version)

    @property
    def major(self) -> int:
        """First number of the version; of TensorRT-RTX that of the TensorRT it looks like."""
        return NEWEST if self.product == "tensorrt-rtx" else self.parts[0]

    @property
    def title(self) -> str:
        """For people: ``TensorRT 10.3.0``."""
        return f"{TITLES[self.product]} {self.version}"


def load_tensorrt(product: Product = "tensorrt") -> Loaded:
    """Import the module and put it where ``import tensorrt`` finds it.

    Raises:
        TargetUnavailableError: it is not installed, or does not load.
        TargetError: it is older or newer than any that is known here.
    """
    before = sys.modules.get("tensorrt")
    if product == "tensorrt" and before and before.__name__ in MODULES["tensorrt-rtx"]:
        del sys.modules["tensorrt"]  # the other product stands there, put by an earlier call
    try:
        module = _found(product)
    except TargetUnavailableError:
        if before is not None:
            sys.modules["tensorrt"] = before  # whoever uses that goes on
        raise
    loaded = Loaded(product, str(module.__version__))
    sys.modules["tensorrt"] = module
    if product == "tensorrt":
        _check(loaded)
    return loaded


def version_parts(version: str) -> tuple[int, ...]:
    """``10.3.0.post1`` → 10, 3, 0, 1; empty where there is no number."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _found(product: Product) -> ModuleType:
    """The first module that is there; what is wrong with it is told only if no other is."""
    wrong = ""
    for name in MODULES[product]:
        module, why = _imported(name)
        if module is not None:
            return module
        wrong = why or wrong
    if wrong:
        raise TargetUnavailableError(f"{TITLES[product]} {wrong}", hint=_BROKEN)
    raise TargetUnavailableError(f"{TITLES[product]} is not installed", hint=INSTALL[product])


def _imported(name: str) -> tuple[ModuleType | None, str]:
    """The module, or why there is none; nothing is wrong with what is not installed."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        return None, "" if error.name == name else f"needs the package {error.name}"
    except (ImportError, OSError, AttributeError) as error:
        return None, f"does not load: {error}"
    if not hasattr(module, "Runtime"):  # pip's empty stand-in, or a folder of that name
        return None, "is installed without its module"
    return module, ""


def _check(loaded: Loaded) -> None:
    known = f"{'.'.join(map(str, OLDEST))} to {NEWEST}"
    if loaded.parts[:2] < OLDEST:
        raise TargetError(
            f"{loaded.title} is older than any that detq knows ({known})",
            hint="use a newer JetPack or TensorRT, or trtexec with detq build --print-trtexec",
        )
    if loaded.major > NEWEST:
        raise TargetError(
            f"{loaded.title} is newer than any that detq knows ({known})",
            hint="use a newer detq, or trtexec with detq build --print-trtexec",
        )
