"""CUDA's runtime library by ctypes: nothing to install where TensorRT is."""

import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from pathlib import Path
from typing import Any

from detq.errors import TargetUnavailableError
from detq_deploy.trt.cuda_runtime import CudaError

SONAMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so.10.2")
# Where NVIDIA's wheels keep it, below site-packages.
_IN_WHEELS = ("nvidia/cu13/lib", "nvidia/cuda_runtime/lib")


class _Out:
    """A parameter that the function writes through a pointer."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind


# Parameters in C's order, as in cuda_runtime_api.h; the same from CUDA 10.2 to 13 (graphs: 11.4).
_PARAMETERS: dict[str, tuple[Any, ...]] = {
    "cudaMalloc": (_Out(c_void_p), c_size_t),
    "cudaFree": (c_void_p,),
    "cudaMemGetInfo": (_Out(c_size_t), _Out(c_size_t)),
    "cudaHostAlloc": (_Out(c_void_p), c_size_t, c_uint),
    "cudaFreeHost": (c_void_p,),
    "cudaMemcpyAsync": (c_void_p, c_void_p, c_size_t, c_int, c_void_p),
    "cudaStreamCreateWithFlags": (_Out(c_void_p), c_uint),
    "cudaStreamSynchronize": (c_void_p,),
    "cudaStreamDestroy": (c_void_p,),
    "cudaEventCreate": (_Out(c_void_p),),
    "cudaEventRecord": (c_void_p, c_void_p),
    "cudaEventElapsedTime": (_Out(c_float), c_void_p, c_void_p),
    "cudaEventDestroy": (c_void_p,),
    "cudaStreamBeginCapture": (c_void_p, c_int),
    "cudaStreamEndCapture": (c_void_p, _Out(c_void_p)),
    "cudaGraphInstantiateWithFlags": (_Out(c_void_p), c_void_p, c_ulonglong),
    "cudaGraphDestroy": (c_void_p,),
    "cudaGraphLaunch": (c_void_p, c_void_p),
    "cudaGraphExecDestroy": (c_void_p,),
}


class Libcudart:
    """Calls into one library.

    Args:
        path: name or path, for the dynamic linker.

    Raises:
        OSError: it is not there.
    """

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.cudaGetErrorString.restype = c_char_p
        self._library.cudaGetErrorString.argtypes = [c_int]
        self.name = Path(path).name

    def __call__(self, function: str, *inputs: int) -> tuple[Any, ...]:
        """Call a function of ``_PARAMETERS``."""
        parameters = _PARAMETERS[function]
        call = getattr(self._library, function, None)
        if call is None:
            raise CudaError(function, "not in this version of CUDA")
        call.argtypes = [POINTER(p.kind) if isinstance(p, _Out) else p for p in parameters]
        call.restype = c_int
        outputs = [p.kind() for p in parameters if isinstance(p, _Out)]
        given, written = iter(inputs), iter(outputs)
        arguments = [
            byref(next(written)) if isinstance(p, _Out) else next(given) for p in parameters
        ]
        status = call(*arguments)
        if status != 0:
            raise CudaError(function, self._library.cudaGetErrorString(status).decode())
        return tuple(output.value or 0 for output in outputs)


def open_libcudart() -> Libcudart:
    """The newest library that the driver serves.

    Raises:
        TargetUnavailableError: there is none, or no GPU.
    """
    refused = ""
    for path in _candidates():
        try:
            found = Libcudart(path)
            found("cudaMemGetInfo")  # makes the context
        except OSError:
            continue
        except CudaError as error:
            refused = refused or f"{Path(path).name}: {error.text}"
            continue
        return found
    raise TargetUnavailableError(
        refused or f"none of {', '.join(SONAMES)} is there",
        hint="install CUDA's runtime, or pip install cuda-python",
    )


def _candidates() -> list[str]:
    folders = [Path(entry) / inside for entry in sys.path for inside in _IN_WHEELS]
    return [
        path
        for soname in SONAMES
        for path in (soname, *(str(folder / soname) for folder in folders))
        if "/" not in path or Path(path).is_file()
    ]
