"""The GPU through torch's allocator, for programs that use torch anyway."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from detq.errors import TargetError, TargetUnavailableError
from detq_deploy.engines import import_engine
from detq_deploy.trt.cuda_runtime import too_little_memory


class TorchDevice:
    """A ``Device`` whose memory is torch tensors of bytes.

    Raises:
        TargetUnavailableError: this torch has no CUDA, or there is no GPU.
    """

    def __init__(self) -> None:
        self._torch: Any = import_engine("torch")
        if not self._torch.cuda.is_available():
            raise TargetUnavailableError("this torch sees no GPU")
        self.name = f"torch {self._torch.__version__}"
        self._stream = self._torch.cuda.Stream()
        self._memory: dict[int, Any] = {}

    @property
    def stream(self) -> int:
        """Handle of the stream."""
        return int(self._stream.cuda_stream)

    def allocate(self, size: int) -> int:
        """A tensor on the device."""
        torch = self._torch
        try:
            tensor = torch.empty(max(1, size), dtype=torch.uint8, device="cuda")
        except torch.cuda.OutOfMemoryError as error:
            free, total = torch.cuda.mem_get_info()
            raise too_little_memory(size, free, total, str(error).split(".")[0]) from error
        self._memory[tensor.data_ptr()] = tensor
        return int(tensor.data_ptr())

    def free(self, pointer: int) -> None:
        """Give the tensor back to torch."""
        del self._memory[pointer]

    def pinned(self, size: int) -> NDArray[Any]:
        """A pinned tensor's memory, as uint8 [size]."""
        torch = self._torch
        array: NDArray[Any] = torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy()
        return array

    def release(self, buffer: NDArray[Any]) -> None:
        """Its memory goes with the array."""

    def to_device(self, pointer: int, source: NDArray[Any]) -> None:
        """``copy_``."""
        self._copy(self._memory[pointer], source, inward=True)

    def to_host(self, target: NDArray[Any], pointer: int) -> None:
        """``copy_``."""
        self._copy(self._memory[pointer], target, inward=False)

    def synchronize(self) -> None:
        """``Stream.synchronize``."""
        try:
            self._stream.synchronize()
        except RuntimeError as error:
            raise TargetError(f"the GPU failed: {error}", where=self.name) from error

    def mark(self) -> Any:
        """``Event.record``."""
        event = self._torch.cuda.Event(enable_timing=True)
        event.record(self._stream)
        return event

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """``Event.elapsed_time``."""
        return float(start.elapsed_time(end))

    def captured(self, work: Callable[[], None]) -> Callable[[], None]:
        """``torch.cuda.CUDAGraph``."""
        graph = self._torch.cuda.CUDAGraph()
        with self._torch.cuda.graph(graph, stream=self._stream):
            work()

        def launch() -> None:
            with self._torch.cuda.stream(self._stream):
                graph.replay()

        return launch

    def close(self) -> None:
        """Give the tensors back to torch."""
        self._memory = {}

    def _copy(self, memory: Any, host: NDArray[Any], *, inward: bool) -> None:
        other = self._torch.from_numpy(host)
        with self._torch.cuda.stream(self._stream):
            if inward:
                memory[: host.nbytes].copy_(other, non_blocking=True)
            else:
                other.copy_(memory[: host.nbytes], non_blocking=True)
