"""The GPU through pycuda, in the context that CUDA's other users have too."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detq.errors import TargetError, TargetUnavailableError
from detq_deploy.trt.cuda_runtime import too_little_memory


class PycudaDevice:
    """A ``Device`` of pycuda's objects.

    Raises:
        TargetUnavailableError: pycuda does not load, or there is no GPU.
    """

    def __init__(self) -> None:
        try:
            # The primary context: pycuda.autoinit would make one that TensorRT is not in.
            importlib.import_module("pycuda.autoprimaryctx")
            self._driver: Any = importlib.import_module("pycuda.driver")
            package = importlib.import_module("pycuda")
        except Exception as error:  # an ImportError, or one of pycuda's own
            raise TargetUnavailableError(f"does not load: {error}") from error
        self.name = f"pycuda {package.VERSION_TEXT}"
        self._stream = self._driver.Stream()
        self._memory: dict[int, Any] = {}

    @property
    def stream(self) -> int:
        """Handle of the stream."""
        return int(self._stream.handle)

    def allocate(self, size: int) -> int:
        """``mem_alloc``."""
        try:
            allocation = self._driver.mem_alloc(max(1, size))
        except self._driver.MemoryError as error:
            free, total = self._driver.mem_get_info()
            raise too_little_memory(size, free, total, str(error)) from error
        self._memory[int(allocation)] = allocation
        return int(allocation)

    def free(self, pointer: int) -> None:
        """``DeviceAllocation.free``."""
        self._memory.pop(pointer).free()

    def pinned(self, size: int) -> NDArray[Any]:
        """``pagelocked_empty``, as uint8 [size]."""
        array: NDArray[Any] = self._driver.pagelocked_empty(size, np.uint8)
        return array

    def release(self, buffer: NDArray[Any]) -> None:
        """Its memory goes with the array."""

    def to_device(self, pointer: int, source: NDArray[Any]) -> None:
        """``memcpy_htod_async``."""
        self._driver.memcpy_htod_async(pointer, source, self._stream)

    def to_host(self, target: NDArray[Any], pointer: int) -> None:
        """``memcpy_dtoh_async``."""
        self._driver.memcpy_dtoh_async(target, pointer, self._stream)

    def synchronize(self) -> None:
        """``Stream.synchronize``."""
        try:
            self._stream.synchronize()
        except self._driver.Error as error:
            raise TargetError(f"the GPU failed: {error}", where=self.name) from error

    def mark(self) -> Any:
        """``Event.record``."""
        return self._driver.Event().record(self._stream)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """``Event.time_since``."""
        return float(end.time_since(start))

    def captured(self, work: Callable[[], None]) -> Callable[[], None]:
        """Pycuda cannot."""
        raise TargetError(
            "pycuda has no CUDA graphs", where=self.name, hint="pip install cuda-python"
        )

    def close(self) -> None:
        """Free the memory; the context is pycuda's to end."""
        for allocation in self._memory.values():
            allocation.free()
        self._memory = {}
