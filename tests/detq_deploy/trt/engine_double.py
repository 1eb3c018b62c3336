"""An engine behind a double of the bindings, that computes on ``host_cuda``'s memory."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from tests.detq_deploy.trt.contract.double import Double
from tests.detq_deploy.trt.host_cuda.library import HostGpu

Shape = tuple[int, ...]
_TYPES = {"float32": "FLOAT", "float16": "HALF", "uint8": "UINT8", "int32": "INT32"}


Compute = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def tripled(images: np.ndarray) -> Mapping[str, np.ndarray]:
    """What the engine gives unless told otherwise."""
    return {"outputs": images * 3}


class EngineDouble:
    """Answers for ``ICudaEngine`` and ``IExecutionContext``; works with named tensors alone.

    Args:
        double: of the bindings.
        gpu: whose stream it runs in.
        shape: of the input ``images``, -1 where it varies.
        profiles: least and most shape of each; the shape itself where it does not vary.
        dtype: of input and output.
        outputs: name → shape, -1 in front where the batch varies; ``outputs`` like the input if
            not given.
        compute: images → outputs; three times the images if not given.
        counted: also give ``count``, int32 [n], n the number of images above 0.5 on average:
            known only when it is computed.
    """

    def __init__(
        self,
        double: Double,
        gpu: HostGpu,
        *,
        shape: Shape = (1, 3, 8, 8),
        profiles: Sequence[tuple[Shape, Shape]] = (),
        dtype: str = "float32",
        outputs: Mapping[str, Shape] | None = None,
        compute: Compute = tripled,
        counted: bool = False,
    ) -> None:
        self.double, self.gpu = double, gpu
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.profiles = profiles or ((shape, shape),)
        self.outputs = outputs or {"outputs": shape}
        self.compute = compute
        self.names = ("images", *self.outputs, *(["count"] if counted else []))
        self.set: Shape = shape if min(shape) >= 0 else ()
        self.pointers: dict[str, int] = {}
        self.allocator: Any = None
        self.runs, self.refuses = 0, False
        double.answers |= {
            "init_libnvinfer_plugins": True,
            "ICudaEngine.num_io_tensors": len(self.names),
            "ICudaEngine.get_tensor_name": lambda _, index: self.names[index],
            "ICudaEngine.get_tensor_mode": self._mode,
            "ICudaEngine.get_tensor_dtype": self._dtype,
            "ICudaEngine.get_tensor_shape": lambda _, name: self._shape(name, shape),
            "ICudaEngine.num_optimization_profiles": len(self.profiles),
            "ICudaEngine.get_tensor_profile_shape": lambda _, name, index: [
                self.profiles[index][0], self.profiles[index][0], self.profiles[index][1],
            ],
            "IExecutionContext.set_input_shape": self._set_shape,
            "IExecutionContext.get_tensor_shape": lambda _, name: self._shape(name, self.set),
            "IExecutionContext.set_tensor_address": self._bind,
            "IExecutionContext.set_output_allocator": self._let_allocate,
            "IExecutionContext.execute_async_v3": self._enqueue,
        }  # fmt: skip

    def _mode(self, _: object, name: str) -> Any:
        mode = self.double.module.TensorIOMode
        return mode.INPUT if name == "images" else mode.OUTPUT

    def _dtype(self, _: object, name: str) -> Any:
        dtype = "int32" if name == "count" else str(self.dtype)
        return getattr(self.double.module.DataType, _TYPES[dtype])

    def _shape(self, name: str, shape: Shape) -> Shape:
        if name == "count":
            return (-1,)
        if name == "images":
            return shape
        own = self.outputs[name]
        return (shape[0], *own[1:]) if shape and own[0] < 0 else own

    def _set_shape(self, _: object, name: str, shape: Shape) -> bool:
        self.set = tuple(shape)
        return True

    def _bind(self, _: object, name: str, pointer: int) -> bool:
        self.pointers[name] = pointer
        return True

    def _let_allocate(self, _: object, name: str, allocator: Any) -> bool:
        self.allocator = allocator
        return True

    def _enqueue(self, _: object, stream: int) -> bool:
        if self.refuses:
            return False
        kernel = self._kernel()
        if self.allocator is not None:
            # TensorRT, too, waits for what decides the shape before it asks for memory.
            return self._run_at_once(stream, kernel)
        self.gpu.launch(stream, kernel)
        return True

    def _kernel(self) -> Callable[[], None]:
        images = seen(self.pointers["images"], self.set, self.dtype)
        targets = {
            name: seen(self.pointers[name], self._shape(name, self.set), self.dtype)
            for name in self.outputs
        }

        def kernel() -> None:
            self.runs += 1
            for name, found in self.compute(images).items():
                targets[name][...] = found

        return kernel

    def _run_at_once(self, stream: int, kernel: Callable[[], None]) -> bool:
        self.gpu.launch(stream, kernel)
        self.gpu.wait(stream)
        images = seen(self.pointers["images"], self.set, self.dtype)
        found = np.flatnonzero(images.mean(axis=(1, 2, 3)) > 0.5).astype(np.int32)
        pointer = self._memory_for(found, stream)
        if not pointer:
            return False
        self.allocator.notify_shape("count", found.shape)
        self.gpu.launch(stream, lambda: np.copyto(seen(pointer, found.shape, found.dtype), found))
        return True

    def _memory_for(self, found: np.ndarray, stream: int) -> int:
        """As each version asks for it: before 10 there is one way, then it is another."""
        wanted = "count", 0, max(1, found.nbytes), 256
        if self.double.version.version.startswith("8."):
            return int(self.allocator.reallocate_output(*wanted))
        return int(self.allocator.reallocate_output_async(*wanted, stream))


def seen(pointer: int, shape: Shape, dtype: Any) -> np.ndarray:
    """An array over memory of the device."""
    size = prod(shape) * np.dtype(dtype).itemsize
    memory = (ctypes.c_uint8 * size).from_address(pointer)
    return np.frombuffer(memory, dtype).reshape(shape) if size else np.zeros(shape, dtype)
