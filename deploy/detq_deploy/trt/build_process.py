"""The builder in a process of its own, and the one who waits for it."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

import msgspec

from detq.errors import TargetError
from detq_deploy.bench_messages import Failed, error_from_failed
from detq_deploy.trt.load import TITLES
from detq_deploy.trt.messages import Built, Progressed, hear
from detq_deploy.trt.progress import Tell
from detq_deploy.trt.request import BuildAnswer, BuildRequest

_COMMAND = [sys.executable, "-m", "detq_deploy.trt.worker"]
_PATIENCE = 10.0  # seconds for a builder that was asked to stop

Process = subprocess.Popen[bytes]


def build_apart(
    request: BuildRequest,
    tell: Tell = lambda phase, part: None,
    *,
    longest: float | None = None,
) -> BuildAnswer:
    """``build_plan`` in a process of its own.

    Args:
        request: what to build.
        tell: is told how far it is.
        longest: seconds that it may take.

    Raises:
        DetqError: the one that ``build_plan`` raised.
        TargetError: the builder crashed, was killed, or took too long.
        KeyboardInterrupt: so it was stopped; the process is gone by then.
    """
    title = TITLES[request.product]
    with tempfile.TemporaryFile() as log, _started(request, log) as process:
        late = threading.Event()
        with _alarm(process, late, longest):
            message = _last_word(process, tell)
            code = process.wait()
        if isinstance(message, Built):
            return message.answer
        if isinstance(message, Failed):
            raise error_from_failed(message)
        if late.is_set():
            raise TargetError(f"{title} gave no answer in {longest:.0f} s", where=request.onnx)
        if message is not None or code == -signal.SIGINT:
            raise KeyboardInterrupt
        raise TargetError(
            f"{title} stopped: {_cause(code, log)}", where=request.onnx, hint=_remedy(code)
        )


@contextmanager
def _started(request: BuildRequest, log: IO[bytes]) -> Iterator[Process]:
    process = subprocess.Popen(
        _COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        # A file of the user's folder must not stand in for one of our packages.
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with suppress(BrokenPipeError):  # it ended; its last words are still to be read
            process.stdin.write(msgspec.json.encode(request))
            process.stdin.close()
        yield process
    except KeyboardInterrupt:
        _stop(process)
        raise
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        with suppress(BrokenPipeError):
            process.stdin.close()


def _stop(process: Process) -> None:
    """Ask it to stop between two steps, so that it frees the GPU itself."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE)


def _last_word(process: Process, tell: Tell) -> object:
    """What it said last; None if it ended in the middle."""
    assert process.stdout is not None
    while isinstance(message := hear(process.stdout), Progressed):
        tell(message.phase, message.part)
    return message


@contextmanager
def _alarm(process: Process, late: threading.Event, longest: float | None) -> Iterator[None]:
    if longest is None:
        yield
        return

    def ring() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(longest, ring)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cause(code: int, log: IO[bytes]) -> str:
    name = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    return f"{name}, {last}" if last else name


def _remedy(code: int) -> str:
    if code == -signal.SIGKILL:  # the system does so where memory runs out
        return "most often too little memory: end other programs, or give a lower --workspace"
    return "detq lint says what is unusual in the file; a lower --optimization-level may help"
