"""``libcudart.c`` compiled, and its GPU's manners at hand for tests."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

SOURCE = Path(__file__).with_name("libcudart.c")
_WORK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


def compiled(folder: Path) -> Path:
    """A copy of the library in ``folder``, with a state of its own; skips without a compiler."""
    library = folder / "libcudart_on_host.so"
    library.write_bytes(_content())
    return library


@cache
def _content() -> bytes:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    with TemporaryDirectory() as folder:
        library = Path(folder) / "library.so"
        command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, SOURCE]
        subprocess.run(command, check=True)
        return library.read_bytes()


class HostGpu:
    """One loaded copy of the library."""

    def __init__(self, library: Path) -> None:
        self.path = str(library)
        self._library = ctypes.CDLL(self.path)
        self._kept: list[object] = []  # ctypes keeps no reference to a callback

    def launch(self, stream: int, kernel: Callable[[], None]) -> None:
        """Put ``kernel`` into the stream; it runs when the stream is synchronized."""

        def run(_: object) -> int:
            try:
                kernel()
            except Exception:
                return 1
            return 0

        work = _WORK(run)
        self._kept.append(work)
        status = self._library.host_launch(ctypes.c_void_p(stream), work, None)
        assert status == 0, "not in the stream of the device"

    def wait(self, stream: int) -> None:
        """Let the stream do everything now."""
        assert self._library.cudaStreamSynchronize(ctypes.c_void_p(stream)) == 0

    def room(self, size: int) -> None:
        """From now on the device has so many bytes."""
        self._library.host_room(ctypes.c_size_t(size))

    @property
    def left(self) -> int:
        """Blocks, streams, events and graphs that were not given back."""
        return int(self._library.host_left())

    @property
    def waiting(self) -> int:
        """Steps in the stream that nobody has waited for."""
        return int(self._library.host_waiting())
