"""The GPU through functions of CUDA's runtime, whoever calls them."""

import ctypes
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detq.errors import TargetError

_TO_DEVICE, _TO_HOST = 1, 2  # cudaMemcpyKind
_NOT_BLOCKING = 1  # cudaStreamNonBlocking: does not wait for the default stream
_OF_THIS_THREAD = 1  # cudaStreamCaptureModeThreadLocal
_MIB = 2**20


class CudaError(Exception):
    """A function of CUDA's that failed.

    Args:
        function: its name.
        text: CUDA's description of the error.
    """

    def __init__(self, function: str, text: str) -> None:
        self.function, self.text = function, text
        super().__init__(f"{function}: {text}")


class Calls(Protocol):
    """Functions of CUDA's runtime by name, numbers in and numbers out."""

    @property
    def name(self) -> str:
        """The package behind it and its version."""
        ...

    def __call__(self, function: str, *inputs: int) -> tuple[Any, ...]:
        """Call a function with what it takes; gives what it writes through its pointers.

        Raises:
            CudaError: it gave another status than success.
        """
        ...


class RuntimeDevice:
    """A ``Device`` of CUDA's runtime functions, on the first GPU that the process sees.

    Args:
        calls: who calls them.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._memory: set[int] = set()
        self._pinned: dict[int, int] = {}  # address of the array → of the memory
        self._events: list[int] = []
        self._graphs: list[int] = []
        (self._stream,) = self._call("cudaStreamCreateWithFlags", _NOT_BLOCKING)

    @property
    def name(self) -> str:
        """The package behind it and its version."""
        return self._calls.name

    @property
    def stream(self) -> int:
        """Handle of the stream."""
        return int(self._stream)

    def allocate(self, size: int) -> int:
        """``cudaMalloc``."""
        try:
            (pointer,) = self._calls("cudaMalloc", max(1, size))
        except CudaError as error:
            raise too_little_memory(size, *self._free_and_total(), error.text) from error
        self._memory.add(pointer)
        return int(pointer)

    def free(self, pointer: int) -> None:
        """``cudaFree``."""
        self._memory.remove(pointer)
        self._call("cudaFree", pointer)

    def pinned(self, size: int) -> NDArray[Any]:
        """``cudaHostAlloc``, as uint8 [size]."""
        (address,) = self._call("cudaHostAlloc", max(1, size), 0)
        array = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        self._pinned[array.ctypes.data] = address
        return array

    def release(self, buffer: NDArray[Any]) -> None:
        """``cudaFreeHost``."""
        self._call("cudaFreeHost", self._pinned.pop(buffer.ctypes.data))

    def to_device(self, pointer: int, source: NDArray[Any]) -> None:
        """``cudaMemcpyAsync``."""
        size = source.nbytes
        self._call("cudaMemcpyAsync", pointer, source.ctypes.data, size, _TO_DEVICE, self.stream)

    def to_host(self, target: NDArray[Any], pointer: int) -> None:
        """``cudaMemcpyAsync``."""
        size = target.nbytes
        self._call("cudaMemcpyAsync", target.ctypes.data, pointer, size, _TO_HOST, self.stream)

    def synchronize(self) -> None:
        """``cudaStreamSynchronize``."""
        self._call("cudaStreamSynchronize", self.stream)

    def mark(self) -> int:
        """``cudaEventRecord`` of a new event."""
        (event,) = self._call("cudaEventCreate")
        self._events.append(event)
        self._call("cudaEventRecord", event, self.stream)
        return int(event)

    def elapsed_ms(self, start: int, end: int) -> float:
        """``cudaEventElapsedTime``; both events are gone then."""
        (elapsed,) = self._call("cudaEventElapsedTime", start, end)
        for event in (start, end):
            self._events.remove(event)
            self._call("cudaEventDestroy", event)
        return float(elapsed)

    def captured(self, work: Callable[[], None]) -> Callable[[], None]:
        """``cudaStreamBeginCapture`` … ``cudaGraphLaunch``; CUDA 11.4 or later."""
        self._call("cudaStreamBeginCapture", self.stream, _OF_THIS_THREAD)
        try:
            work()
        finally:  # also where it failed: a stream that captures takes nothing else
            (graph,) = self._call("cudaStreamEndCapture", self.stream)
        (runnable,) = self._call("cudaGraphInstantiateWithFlags", graph, 0)
        self._call("cudaGraphDestroy", graph)
        self._graphs.append(runnable)
        return lambda: self._launch(runnable)

    def close(self) -> None:
        """Give everything back; nothing happens the second time."""
        for runnable in self._graphs:
            self._call("cudaGraphExecDestroy", runnable)
        for event in self._events:
            self._call("cudaEventDestroy", event)
        for pointer in self._memory:
            self._call("cudaFree", pointer)
        for address in self._pinned.values():
            self._call("cudaFreeHost", address)
        if self._stream:
            self._call("cudaStreamDestroy", self._stream)
        self._graphs, self._events, self._memory, self._pinned = [], [], set(), {}
        self._stream = 0

    def _launch(self, runnable: int) -> None:
        self._call("cudaGraphLaunch", runnable, self.stream)

    def _free_and_total(self) -> tuple[int, int]:
        free, total = self._call("cudaMemGetInfo")
        return free, total

    def _call(self, function: str, *inputs: int) -> tuple[Any, ...]:
        try:
            return self._calls(function, *inputs)
        except CudaError as error:
            raise TargetError(
                f"the GPU failed: {error}",
                where=self.name,
                hint="look at nvidia-smi or dmesg; on a Jetson restart the program",
            ) from error


def too_little_memory(size: int, free: int, total: int, said: str) -> TargetError:
    """The error of an allocation that failed."""
    return TargetError(
        f"no {size / _MIB:.1f} MiB on the GPU, {free / _MIB:.0f} of {total / _MIB:.0f} MiB are "
        f"free: {said}",
        hint="end other programs on the GPU, or take a smaller batch",
    )
