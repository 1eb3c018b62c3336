"""Memory of an engine's inputs and outputs, on the device and on the host."""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detq.errors import TargetError
from detq_deploy.trt.allocator import Held, new_allocator
from detq_deploy.trt.device import Device
from detq_deploy.trt.tensors import Tensors


class Buffers:
    """Memory of every input and output, on the device and pinned on the host.

    Args:
        device: whose memory it is.
        tensors: of the engine.
    """

    def __init__(self, device: Device, tensors: Tensors) -> None:
        self._device, self._tensors = device, tensors
        self._pointers: dict[str, int] = {}
        self._pinned: dict[str, NDArray[Any]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._held: dict[str, Held] = {}
        self._allocators: list[Any] = []  # TensorRT keeps no reference

    @property
    def growing(self) -> bool:
        """Whether the shape of an output is known only when it is computed."""
        return bool(self._held)

    @property
    def failure(self) -> TargetError | None:
        """Why memory for such an output could not be had."""
        return next((held.failure for held in self._held.values() if held.failure), None)

    def fit(self) -> None:
        """Make room for all tensors of the shapes that are set, and tell TensorRT where."""
        for spec in self._tensors.specs:
            shape = self._tensors.shape(spec.name)
            if min(shape, default=0) < 0:
                self._let_allocate(spec.name)
                continue
            size = prod(shape) * spec.dtype.itemsize
            self._shapes[spec.name] = shape
            if spec.name in self._pointers:
                self._device.free(self._pointers.pop(spec.name))
            self._pointers[spec.name] = self._device.allocate(size)
            self._pin(spec.name, size)
            self._tensors.bind(spec.name, self._pointers[spec.name])

    def write(self, name: str, images: NDArray[Any]) -> None:
        """Copy images to the device, changed to the input's type."""
        np.copyto(self._seen(name), images, casting="same_kind")
        self._device.to_device(self._pointers[name], self._pinned[name])

    def fetch(self) -> None:
        """Copy the outputs to the host; done when the stream is."""
        if self._held:
            self._device.synchronize()  # the shapes are known then
        for name, held in self._held.items():
            spec = next(spec for spec in self._tensors.specs if spec.name == name)
            self._shapes[name] = held.shape
            self._pin(name, prod(held.shape) * spec.dtype.itemsize)
        for spec in self._tensors.specs:
            if not spec.is_input and self._pinned[spec.name].size:
                held_here = self._held.get(spec.name)
                pointer = held_here.pointer if held_here else self._pointers[spec.name]
                self._device.to_host(self._pinned[spec.name], pointer)

    def outputs(self) -> dict[str, NDArray[Any]]:
        """Copies of the outputs, half precision as float32."""
        return {
            spec.name: _owned(self._seen(spec.name))
            for spec in self._tensors.specs
            if not spec.is_input
        }

    def _let_allocate(self, name: str) -> None:
        if name not in self._held:
            self._held[name] = Held(self._device)
            self._allocators.append(new_allocator(self._held[name]))
            self._tensors.let_allocate(name, self._allocators[-1])

    def _pin(self, name: str, size: int) -> None:
        if name in self._pinned:
            if self._pinned[name].size == size:
                return
            self._device.release(self._pinned.pop(name))
        self._pinned[name] = self._device.pinned(size)

    def _seen(self, name: str) -> NDArray[Any]:
        spec = next(spec for spec in self._tensors.specs if spec.name == name)
        return self._pinned[name].view(spec.dtype).reshape(self._shapes[name])


def _owned(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32 if array.dtype == np.float16 else array.dtype)
