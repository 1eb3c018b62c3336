"""CUDA's runtime by NVIDIA's package cuda-python."""

import importlib
import sys
from enum import IntEnum
from importlib.util import find_spec
from typing import Any

from detq.errors import TargetUnavailableError
from detq_deploy.trt.cuda_runtime import CudaError

# Newer packages have the first, those up to 12.x the second; functions are the same.
MODULES = ("cuda.bindings.runtime", "cuda.cudart")
_PACKAGES = ("cuda.bindings", "cuda")

# Position of an argument that has to be a member of an enumeration.
_ENUMS = {
    "cudaMemcpyAsync": (3, "cudaMemcpyKind"),
    "cudaStreamBeginCapture": (1, "cudaStreamCaptureMode"),
}


class CudaPython:
    """Calls into ``cuda.bindings.runtime``, or ``cuda.cudart`` of older packages.

    Raises:
        TargetUnavailableError: neither is installed, or there is no driver or GPU.
    """

    def __init__(self) -> None:
        self._runtime = _runtime()
        self.name = f"cuda-python {_version()}".rstrip()
        try:
            self("cudaMemGetInfo")  # makes the context
        except (CudaError, RuntimeError) as error:  # versions to 12.2 raise where none is
            raise TargetUnavailableError(str(error)) from error

    def __call__(self, function: str, *inputs: int) -> tuple[Any, ...]:
        """Call a function; handles come back as integers."""
        arguments: list[Any] = list(inputs)
        if function in _ENUMS:
            place, name = _ENUMS[function]
            kinds: type[IntEnum] = getattr(self._runtime, name)
            arguments[place] = kinds(arguments[place])
        status, *outputs = getattr(self._runtime, function)(*arguments)
        if int(status) != 0:
            _, text = self._runtime.cudaGetErrorString(status)
            raise CudaError(function, text.decode())
        return tuple(x if isinstance(x, float) else int(x) for x in outputs)


def _runtime() -> Any:
    name = next((name for name in MODULES if _is_there(name)), "")
    if not name:
        raise TargetUnavailableError("not installed", hint="pip install cuda-python")
    try:
        return importlib.import_module(name)
    except Exception as error:  # a library that is missing, or of another version
        raise TargetUnavailableError(f"does not load: {error}") from error


def _version() -> str:
    found = (getattr(sys.modules.get(name), "__version__", "") for name in _PACKAGES)
    return next((str(version) for version in found if version), "")


def _is_there(module: str) -> bool:
    package, _, _ = module.rpartition(".")
    try:
        return module in sys.modules or (
            find_spec(package) is not None and find_spec(module) is not None
        )
    except ModuleNotFoundError:  # the package above is missing
        return False
