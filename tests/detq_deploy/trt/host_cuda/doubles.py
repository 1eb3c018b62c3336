"""Packages that reach CUDA, written over ``libcudart.c`` with the signatures of the real ones.

Those of cuda-python were compared with versions 11.8.3, 12.2.1, 12.9.0 and 13.5.0; pycuda's and
torch's were written after their documentation.
"""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detq_deploy.trt.cuda_runtime import CudaError
from detq_deploy.trt.libcudart import Libcudart

# Function → number of arguments in cuda-python.
_ARITY = {
    "cudaMalloc": 1, "cudaFree": 1, "cudaMemGetInfo": 0, "cudaHostAlloc": 2, "cudaFreeHost": 1,
    "cudaMemcpyAsync": 5, "cudaStreamCreateWithFlags": 1, "cudaStreamSynchronize": 1,
    "cudaStreamDestroy": 1, "cudaEventCreate": 0, "cudaEventRecord": 2, "cudaEventElapsedTime": 2,
    "cudaEventDestroy": 1, "cudaStreamBeginCapture": 2, "cudaStreamEndCapture": 1,
    "cudaGraphInstantiateWithFlags": 2, "cudaGraphDestroy": 1, "cudaGraphLaunch": 2,
    "cudaGraphExecDestroy": 1,
}  # fmt: skip


class Status(IntEnum):
    SUCCESS = 0
    FAILED = 1


class Handle:
    """cuda-python gives objects for streams, events and graphs."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __int__(self) -> int:
        return self._number


def cuda_python_on_host(path: str) -> ModuleType:
    """``cuda.bindings.runtime``."""
    library = Libcudart(path)
    module: Any = ModuleType("runtime")
    module.cudaMemcpyKind = IntEnum("cudaMemcpyKind", {"H2H": 0, "H2D": 1, "D2H": 2})
    module.cudaStreamCaptureMode = IntEnum("cudaStreamCaptureMode", {"GLOBAL": 0, "THREAD": 1})
    said: list[str] = [""]

    def calling(name: str, count: int) -> Callable[..., tuple[Any, ...]]:
        def call(*inputs: Any) -> tuple[Any, ...]:
            if len(inputs) != count:
                raise TypeError(f"{name}() takes exactly {count} positional arguments")
            if name == "cudaMemcpyAsync" and not isinstance(inputs[3], module.cudaMemcpyKind):
                raise TypeError("Argument 'kind' has incorrect type")
            if name == "cudaStreamBeginCapture":
                assert isinstance(inputs[1], module.cudaStreamCaptureMode)
            try:
                found = library(name, *(int(x) for x in inputs))
            except CudaError as error:
                said[0] = error.text
                return (Status.FAILED, None)
            made = ("Create" in name) or ("Instantiate" in name) or name.endswith("EndCapture")
            return (Status.SUCCESS, *(Handle(x) if made else x for x in found))

        return call

    for name, count in _ARITY.items():
        setattr(module, name, calling(name, count))
    module.cudaGetErrorString = lambda status: (Status.SUCCESS, said[0].encode())
    return module


class _Stream:
    def __init__(self, library: Libcudart) -> None:
        self._library = library
        (self.handle,) = library("cudaStreamCreateWithFlags", 1)
        self.cuda_stream = self.handle

    def synchronize(self) -> None:
        self._library("cudaStreamSynchronize", self.handle)


class _TorchStream(_Stream):
    def synchronize(self) -> None:
        try:
            super().synchronize()
        except CudaError as error:
            raise RuntimeError(str(error)) from error


class _Event:
    def __init__(self, library: Libcudart) -> None:
        self._library = library
        (self.handle,) = library("cudaEventCreate")

    def record(self, stream: _Stream) -> "_Event":
        self._library("cudaEventRecord", self.handle, stream.handle)
        return self

    def elapsed_time(self, end: "_Event") -> float:
        return float(self._library("cudaEventElapsedTime", self.handle, end.handle)[0])

    def time_since(self, start: "_Event") -> float:
        return start.elapsed_time(self)


class _Block:
    """Memory of the library that goes with the object."""

    def __init__(self, library: Libcudart, size: int, *, pinned: bool) -> None:
        self._give_back = lambda: library("cudaFreeHost" if pinned else "cudaFree", self.address)
        self.address: int = library("cudaHostAlloc", size, 0)[0] if pinned else 0
        self.address = self.address or library("cudaMalloc", size)[0]

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        if self.address:
            self._give_back()
        self.address = 0

    __del__ = free


class _Pinned(np.ndarray[Any, Any]):
    block: _Block


def _pinned(library: Libcudart, size: int) -> NDArray[Any]:
    block = _Block(library, size, pinned=True)
    memory = (ctypes.c_uint8 * size).from_address(block.address)
    array = np.ctypeslib.as_array(memory).view(_Pinned)
    array.block = block
    return array


def pycuda_on_host(path: str) -> dict[str, ModuleType]:
    """The modules of pycuda."""
    library = Libcudart(path)
    driver: Any = ModuleType("pycuda.driver")
    driver.Error = CudaError
    driver.MemoryError = CudaError
    driver.Stream = lambda flags=0: _Stream(library)
    driver.Event = lambda flags=0: _Event(library)
    driver.mem_alloc = lambda size: _Block(library, size, pinned=False)
    driver.mem_get_info = lambda: library("cudaMemGetInfo")
    driver.pagelocked_empty = lambda shape, dtype, order="C", mem_flags=0: _pinned(library, shape)
    driver.memcpy_htod_async = lambda dest, src, stream=None: library(
        "cudaMemcpyAsync", dest, src.ctypes.data, src.nbytes, 1, stream.handle
    )
    driver.memcpy_dtoh_async = lambda dest, src, stream=None: library(
        "cudaMemcpyAsync", dest.ctypes.data, src, dest.nbytes, 2, stream.handle
    )
    package: Any = ModuleType("pycuda")
    package.VERSION_TEXT = "on the host"
    context = ModuleType("pycuda.autoprimaryctx")
    return {"pycuda": package, "pycuda.driver": driver, "pycuda.autoprimaryctx": context}


class _Tensor:
    """Bytes of the device, or of the host."""

    def __init__(self, torch: Any, block: _Block | None, array: Any, start: int = 0) -> None:
        self._torch, self._block, self._array = torch, block, array

    def data_ptr(self) -> int:
        return int(self._block or self._array.ctypes.data)

    def numpy(self) -> NDArray[Any]:
        found: NDArray[Any] = self._array
        return found

    def __getitem__(self, part: slice) -> "_Tensor":
        return _Tensor(self._torch, self._block, part.stop)

    def copy_(self, other: "_Tensor", *, non_blocking: bool) -> None:
        assert non_blocking
        inward = self._block is not None
        size = self._array if inward else other._array
        self._torch.library(
            "cudaMemcpyAsync", self.data_ptr(), other.data_ptr(), size, 1 if inward else 2,
            self._torch.current,
        )  # fmt: skip


def torch_on_host(path: str) -> ModuleType:
    """What ``TorchDevice`` uses of torch."""
    library = Libcudart(path)
    torch: Any = ModuleType("torch")
    torch.__version__, torch.uint8 = "on the host", np.uint8
    torch.library, torch.current = library, 0

    def empty(size: int, *, dtype: Any, device: str = "cpu", pin_memory: bool = False) -> _Tensor:
        assert dtype is np.uint8
        if pin_memory:
            return _Tensor(torch, None, _pinned(library, size))
        assert device == "cuda"
        return _Tensor(torch, _Block(library, size, pinned=False), size)

    @contextlib.contextmanager
    def stream(chosen: _Stream) -> Iterator[None]:
        torch.current, before = chosen.handle, torch.current
        yield
        torch.current = before

    @contextlib.contextmanager
    def graph(made: Any, *, stream: _Stream) -> Iterator[None]:
        library("cudaStreamBeginCapture", stream.handle, 1)
        yield
        (made.graph,) = library("cudaStreamEndCapture", stream.handle)

    class Graph:
        graph = 0

        def replay(self) -> None:
            library("cudaGraphLaunch", self.graph, torch.current)

        def __del__(self) -> None:
            library("cudaGraphDestroy", self.graph)

    torch.empty = empty
    torch.from_numpy = lambda array: _Tensor(torch, None, array)
    torch.cuda = SimpleNamespace(
        is_available=lambda: True,
        OutOfMemoryError=CudaError,
        mem_get_info=lambda: library("cudaMemGetInfo"),
        Stream=lambda: _TorchStream(library),
        Event=lambda enable_timing: _Event(library),
        CUDAGraph=Graph,
        graph=graph,
        stream=stream,
    )
    return torch
