"""Tasks in processes on this machine, a new one for each: its memory is given back at its end."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Collection
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from detq.tasks.task import OutOfMemoryError, Task, WorkerLostError, is_out_of_memory


@dataclass(eq=False)
class Running:
    """A task at work.

    Attributes:
        task: which.
        process: that it runs in.
        answers: end of the pipe that the answer comes out of.
    """

    task: Task
    process: SpawnProcess
    answers: Connection


class LocalWorkers:
    """Processes of this machine."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._running: set[Running] = set()

    @property
    def cores(self) -> int:
        """Of this machine."""
        return os.cpu_count() or 1

    def start(self, task: Task) -> Running:
        """Begin a task."""
        here, there = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(task, there), daemon=False)
        process.start()
        there.close()  # so that the end of the process is the end of the pipe
        running = Running(task, process, here)
        self._running.add(running)
        return running

    def wait(self, running: Collection[Running], seconds: float) -> list[Running]:
        """Those that have ended, or none after so many seconds."""
        ready = set(wait([one.answers for one in running], seconds))
        return [one for one in running if one.answers in ready]

    def result(self, running: Running) -> Any:
        """What an ended task gave.

        Raises:
            WorkerLostError: its process was killed.
            OutOfMemoryError: it wanted more memory than there is.
            Exception: what the task raised.
        """
        try:
            failed, answer = pickle.loads(running.answers.recv_bytes())
        except EOFError:
            running.process.join()
            raise _lost(running) from None
        finally:
            self._close(running)
        if failed:
            raise OutOfMemoryError(str(answer)) if is_out_of_memory(answer) else answer
        return answer

    def _close(self, running: Running) -> None:
        running.answers.close()
        running.process.join()
        self._running.discard(running)

    def __enter__(self) -> "LocalWorkers":
        return self

    def __exit__(self, *error: object) -> None:
        """End what still runs."""
        for running in list(self._running):
            running.process.terminate()
            self._close(running)


def _lost(running: Running) -> Exception:
    code = running.process.exitcode or 0
    # The system's own answer to a lack of memory is this signal, and nothing else tells.
    if -code == signal.SIGKILL:
        return WorkerLostError(
            "the worker was killed, perhaps for want of memory", where=running.task.name
        )
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return WorkerLostError(f"the worker ended by {how}", where=running.task.name)


def _work(task: Task, answers: Connection) -> None:
    """In the new process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and it ends what it has started
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        answer = (False, task())
    except Exception as error:  # handed on as it is
        answer = (True, error)
    try:
        content = pickle.dumps(answer)
    except Exception as error:
        content = pickle.dumps((True, RuntimeError(f"{answer[1]!r} cannot be sent: {error}")))
    answers.send_bytes(content)
    answers.close()


def _end_with_parent() -> None:
    """Nobody waits for the answer of a task whose starter is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
