"""Do tasks on workers of either kind; lost ones are started again, greedy ones with fewer beside.

A task that runs out of memory is tried again with half as many at a time, and reported where it
is alone. A lost worker's task is started again a few times, from the second time on with fewer
beside it, too. What a task itself raises is final: it would raise it again.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from detq.tasks.task import OutOfMemoryError, Task, WorkerLostError

R = TypeVar("R")
State = Literal["waiting", "running", "done", "again", "failed"]

RETRIES = 3
POLL_SECONDS = 1.0
_LOST = "see the memory and the log of its machine"


class Workers(Protocol[R]):
    """What tasks are done on."""

    @property
    def cores(self) -> int:
        """As many tasks may run at a time without waiting for each other."""
        ...

    def start(self, task: Task) -> R:
        """Begin a task."""
        ...

    def wait(self, running: Sequence[R], seconds: float) -> list[R]:
        """Those that have ended, or none after so many seconds."""
        ...

    def result(self, running: R) -> Any:
        """What an ended task gave, or raises."""
        ...


class Event(msgspec.Struct, frozen=True):
    """Something happened to a task.

    Attributes:
        task: its name.
        state: what it is now.
        told: why, where there is a reason.
    """

    task: str
    state: State
    told: str = ""


def do_all(
    tasks: Sequence[Task],
    workers: Workers[R],
    *,
    at_once: int,
    on_event: Callable[[Event], None] = lambda event: None,
    keep_going: bool = False,
) -> list[Any]:
    """Results in the order of the tasks, however they were done.

    Args:
        tasks: without an order among them.
        workers: where.
        at_once: most tasks at a time.
        on_event: told what happens.
        keep_going: do the others where one fails; its result is the exception.

    Raises:
        Exception: what a task raised, or that its worker was lost too often, or memory was
            short even for it alone; not with ``keep_going``.
    """
    drive = _Drive(tasks, workers, at_once, on_event)
    while drive.waiting or drive.running:
        drive.fill()
        for ended in workers.wait(list(drive.running), POLL_SECONDS):
            failure = drive.settle(ended)
            if failure is not None and not keep_going:
                raise failure
    return drive.results


class _Drive(Generic[R]):
    """Where all tasks are."""

    def __init__(
        self,
        tasks: Sequence[Task],
        workers: Workers[R],
        at_once: int,
        on_event: Callable[[Event], None],
    ) -> None:
        self._tasks, self._workers, self._at_once = tasks, workers, at_once
        self._on_event = on_event
        self.results: list[Any] = [None] * len(tasks)
        self.waiting = list(range(len(tasks)))
        self.running: dict[R, int] = {}
        self._lost = [0] * len(tasks)
        self._beside: dict[int, int] = {}  # task → most that ran at the same time, it included

    def fill(self) -> None:
        """Start as many as may run."""
        while self.waiting and len(self.running) < self._at_once:
            index = self.waiting.pop(0)
            self._on_event(Event(self._tasks[index].name, "running"))
            self.running[self._workers.start(self._tasks[index])] = index
            for other in self.running.values():
                self._beside[other] = max(self._beside.get(other, 0), len(self.running))

    def settle(self, ended: R) -> Exception | None:
        """Take the result of a task that ended, or have it done again.

        Returns:
            Why it failed for good, if it did.
        """
        index = self.running.pop(ended)
        task, together = self._tasks[index], self._beside.pop(index)
        try:
            self.results[index] = self._workers.result(ended)
        except OutOfMemoryError as error:
            if together > 1:
                self._at_once = max(1, min(self._at_once, together // 2))
                told = f"out of memory with {together} at a time, again with {self._at_once}"
                self._again(index, told)
                return None
            return self._failed(index, _too_large(task, error))
        except WorkerLostError as error:
            self._lost[index] += 1
            if self._lost[index] <= RETRIES:
                if self._lost[index] > 1:  # the system ends what wants too much memory like this
                    self._at_once = max(1, min(self._at_once, together // 2))
                self._again(index, error.what)
                return None
            told = f"{error.what}, {self._lost[index]} times"
            return self._failed(index, WorkerLostError(told, where=task.name, hint=_LOST))
        except Exception as error:  # the task's own
            return self._failed(index, error)
        self._on_event(Event(task.name, "done"))
        return None

    def _again(self, index: int, told: str) -> None:
        self.waiting.append(index)
        self._on_event(Event(self._tasks[index].name, "again", told))

    def _failed(self, index: int, error: Exception) -> Exception:
        self.results[index] = error
        self._on_event(Event(self._tasks[index].name, "failed", str(error)))
        return error


def _too_large(task: Task, error: OutOfMemoryError) -> OutOfMemoryError:
    return OutOfMemoryError(
        f"runs out of memory even alone: {error.what}",
        where=task.name,
        hint="give fewer images per batch, or a machine with more memory",
    )
