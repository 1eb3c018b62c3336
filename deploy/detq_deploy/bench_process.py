"""The driver's end of a worker process."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import Any

from detq.errors import TargetError
from detq_deploy.bench_messages import (
    Failed,
    Open,
    Reply,
    Request,
    error_from_failed,
    receive,
    send,
)

_COMMAND = [sys.executable, "-m", "detq_deploy.bench_worker"]


class WorkerProcess:
    """A running ``detq_deploy.bench_worker``; leaving the context ends it whatever it does.

    Args:
        title: the contender, for messages.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # A file of the user's folder must not stand in for one of our packages.
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def ask(self, request: Open | Request) -> Any:
        """Send a request and wait for the reply.

        Raises:
            DetqError: the one that the worker raised.
            TargetError: the worker ended without a reply.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it ended; its last words are still to be read
            send(self._process.stdin, request)
        reply = receive(self._process.stdout, Reply)
        if reply is None:
            raise TargetError(f"stopped: {self._cause()}", where=self._title)
        if isinstance(reply, Failed):
            raise error_from_failed(reply)
        return reply

    def _cause(self) -> str:
        code = self._process.wait()
        name = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"{name}, {last}" if last else name

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(self, *error: object) -> None:
        """End the process and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        self._log.close()
