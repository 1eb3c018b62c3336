"""Tasks for tests; of a module, as tasks must be."""

import os
import signal
import time
from pathlib import Path

from detq.errors import DatasetError


def square(x: int) -> int:
    return x * x


def wrong(path: str) -> None:
    raise DatasetError("is damaged", where=path, hint="give another")


def greedy() -> None:
    raise MemoryError("cannot have 99 GiB")


def greedy_in_company(folder: Path, name: str) -> str:
    """Out of memory while another of its kind runs."""
    mark = folder / name
    mark.touch()
    try:
        time.sleep(0.5)
        if len(list(folder.iterdir())) > 1:
            raise MemoryError("two are too many")
        return name
    finally:
        mark.unlink()


def dies_at_first(folder: Path, times: int) -> int:
    """Killed so many times, whatever process it runs in; then the number of calls."""
    calls = len(list(folder.iterdir()))
    (folder / str(calls)).touch()
    if calls < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return calls + 1


def process() -> int:
    return os.getpid()


def tells_and_waits(path: Path, seconds: float) -> str:
    """Says who it is before it begins, unless it did so before."""
    if not path.is_file():
        written = path.with_suffix(".part")
        written.write_text(str(os.getpid()))
        written.replace(path)
        time.sleep(seconds)
    return "done"
