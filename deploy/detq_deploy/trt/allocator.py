"""Memory for outputs whose shape is known only when they are computed, as of suppression."""

from typing import TYPE_CHECKING

from detq.errors import TargetError
from detq_deploy.trt.device import Device

if TYPE_CHECKING:
    import tensorrt as trt


class Held:
    """What TensorRT asked for, for one output.

    Attributes:
        pointer: address on the device, 0 before it asked.
        size: bytes there.
        shape: of the output of the last run.
        failure: why memory could not be had, or None.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self.pointer, self.size = 0, 0
        self.shape: tuple[int, ...] = ()
        self.failure: TargetError | None = None

    def grow(self, size: int) -> int:
        """Address of ``size`` bytes; 0 where there are not so many."""
        if size > self.size or not self.pointer:
            try:
                # No run is under way in which the old memory is read: each is waited for.
                if self.pointer:
                    self._device.free(self.pointer)
                    self.pointer = 0
                self.pointer, self.size = self._device.allocate(size), size
            except TargetError as error:  # an exception cannot pass through TensorRT
                self.failure = error
                return 0
        return self.pointer


def new_allocator(held: Held) -> "trt.IOutputAllocator":
    """What ``set_output_allocator`` takes; TensorRT writes what it asks for into ``held``."""
    import tensorrt as trt

    class Allocator(trt.IOutputAllocator):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            super().__init__()

        def reallocate_output(
            self, tensor_name: str, memory: int, size: int, alignment: int
        ) -> int:
            return held.grow(size)

        # What TensorRT 10 and later call instead; memory of a device's allocator is aligned.
        def reallocate_output_async(
            self, tensor_name: str, memory: int, size: int, alignment: int, stream: int
        ) -> int:
            return held.grow(size)

        def notify_shape(self, tensor_name: str, shape: "trt.Dims") -> None:
            held.shape = tuple(shape[place] for place in range(len(shape)))

    return Allocator()
