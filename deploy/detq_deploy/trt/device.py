"""Memory, one stream and the clock of an NVIDIA GPU, by whichever package reaches CUDA here."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal, Protocol, get_args

from numpy.typing import NDArray

from detq.errors import InputError, TargetUnavailableError

Reach = Literal["cuda-python", "libcudart", "pycuda", "torch"]
REACHES: tuple[str, ...] = get_args(Reach)


class Device(Protocol):
    """The GPU that a process uses, through one stream of its own, never the default stream.

    Everything it gave is given back by ``close``. Pointers and the stream are plain integers, as
    TensorRT takes them.
    """

    @property
    def name(self) -> str:
        """The package behind it and its version."""
        ...

    @property
    def stream(self) -> int:
        """Handle of the stream."""
        ...

    def allocate(self, size: int) -> int:
        """Address of ``size`` bytes on the device.

        Raises:
            TargetError: there is too little memory.
        """
        ...

    def free(self, pointer: int) -> None:
        """Give back what ``allocate`` gave; the stream must not use it any more."""
        ...

    def pinned(self, size: int) -> NDArray[Any]:
        """``size`` bytes of the host that the device copies from and to by itself."""
        ...

    def release(self, buffer: NDArray[Any]) -> None:
        """Give back what ``pinned`` gave; no view of it may be used any more."""
        ...

    def to_device(self, pointer: int, source: NDArray[Any]) -> None:
        """Copy ``source``, of ``pinned``, in the order of the stream."""
        ...

    def to_host(self, target: NDArray[Any], pointer: int) -> None:
        """Copy into ``target``, of ``pinned``, in the order of the stream."""
        ...

    def synchronize(self) -> None:
        """Wait until the stream has done everything.

        Raises:
            TargetError: something in it failed.
        """
        ...

    def mark(self) -> Any:
        """A point in the stream, for ``elapsed_ms``."""
        ...

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Milliseconds between two marks, by the device's clock; both must be passed."""
        ...

    def captured(self, work: Callable[[], None]) -> Callable[[], None]:
        """What ``work`` puts into the stream as one CUDA graph; calling it puts all in at once.

        Raises:
            TargetError: the package has no CUDA graphs, or ``work`` cannot be one.
        """
        ...

    def close(self) -> None:
        """Free everything."""
        ...


def open_device(reach: Reach | None = None) -> Device:
    """The GPU, through ``reach`` or the first package that reaches it.

    Torch comes first where the program uses it already, so that both share one allocator, and
    last otherwise, because loading it takes seconds.

    Raises:
        TargetUnavailableError: none of them reaches a GPU; says what each said.
        InputError: no such package is known.
    """
    if reach is not None and reach not in REACHES:
        raise InputError(f"no way to CUDA by {reach!r}", hint=f"one of {', '.join(REACHES)}")
    names = [reach] if reach else sorted(REACHES, key=lambda name: name not in sys.modules)
    refused: list[str] = []
    for name in names:
        found = _opened(name, refused)
        if found is not None:
            return found
    raise TargetUnavailableError(
        f"CUDA cannot be reached: {'; '.join(refused)}",
        hint="pip install cuda-python, on a machine with an NVIDIA driver",
    )


def _opened(name: str, refused: list[str]) -> Device | None:
    try:
        return _OPENERS[name]()
    except TargetUnavailableError as error:
        refused.append(f"{name}: {error.what}")
        return None


def _by_cuda_python() -> Device:
    from detq_deploy.trt.cuda_python import CudaPython
    from detq_deploy.trt.cuda_runtime import RuntimeDevice

    return RuntimeDevice(CudaPython())


def _by_libcudart() -> Device:
    from detq_deploy.trt.cuda_runtime import RuntimeDevice
    from detq_deploy.trt.libcudart import open_libcudart

    return RuntimeDevice(open_libcudart())


def _by_pycuda() -> Device:
    require_installed("pycuda")
    from detq_deploy.trt.pycuda_device import PycudaDevice

    return PycudaDevice()


def _by_torch() -> Device:
    require_installed("torch")
    from detq_deploy.trt.torch_device import TorchDevice

    return TorchDevice()


def require_installed(package: str) -> None:
    """Tell that a package is missing.

    Raises:
        TargetUnavailableError: it is not installed.
    """
    if sys.modules.get(package, package) is None or (
        package not in sys.modules and find_spec(package) is None
    ):
        raise TargetUnavailableError("not installed", hint=f"pip install {package}")


_OPENERS: dict[str, Callable[[], Device]] = {
    "cuda-python": _by_cuda_python,
    "libcudart": _by_libcudart,
    "pycuda": _by_pycuda,
    "torch": _by_torch,
}
