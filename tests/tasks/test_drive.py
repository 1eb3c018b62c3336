"""What happens to tasks, on workers that do as they are told; real ones have files of their own."""

from collections.abc import Callable
from typing import Any

import pytest

from detq.errors import DatasetError
from detq.tasks.drive import RETRIES, Event, do_all
from detq.tasks.task import OutOfMemoryError, Task, WorkerLostError, is_out_of_memory
from tests.tasks.work import square

Outcome = Callable[[int, int], Any]  # times the task was started, tasks at the time → result


class Scripted:
    """Workers that end the task started last first."""

    def __init__(self, outcomes: dict[str, Outcome]) -> None:
        self.outcomes, self.started = outcomes, list[str]()
        self.running: list[Task] = []
        self.most = 0

    def start(self, task: Task) -> Task:
        self.started.append(task.name)
        self.running.append(task)
        self.most = max(self.most, len(self.running))
        return task

    def wait(self, running: list[Task], seconds: float) -> list[Task]:
        return [self.running[-1]]

    def result(self, task: Task) -> Any:
        together = len(self.running)
        self.running.remove(task)
        return self.outcomes[task.name](self.started.count(task.name), together)


def tasks(names: str) -> list[Task]:
    return [Task(name, square, {"x": 1}) for name in names]


def gives(value: object) -> Outcome:
    return lambda times, together: value


def raises(error: Exception, until: Callable[[int, int], bool], value: object) -> Outcome:
    def outcome(times: int, together: int) -> object:
        if until(times, together):
            raise error
        return value

    return outcome


def test_results_stand_in_the_order_of_the_tasks() -> None:
    workers = Scripted({name: gives(name.upper()) for name in "abcd"})
    assert do_all(tasks("abcd"), workers, at_once=2) == ["A", "B", "C", "D"]
    assert workers.most == 2


def test_a_lost_task_is_started_again() -> None:
    lost = raises(WorkerLostError("the worker is gone"), lambda times, _: times < 2, "B")
    events: list[Event] = []
    workers = Scripted({"a": gives("A"), "b": lost})
    assert do_all(tasks("ab"), workers, at_once=1, on_event=events.append) == ["A", "B"]
    assert [(e.task, e.state) for e in events] == [
        ("a", "running"), ("a", "done"), ("b", "running"), ("b", "again"), ("b", "running"),
        ("b", "done"),
    ]  # fmt: skip
    assert events[3].told == "the worker is gone"


def test_a_task_that_is_lost_every_time_is_given_up() -> None:
    lost = raises(WorkerLostError("the worker is gone"), lambda *_: True, None)
    workers = Scripted({"a": lost})
    with pytest.raises(WorkerLostError) as caught:
        do_all(tasks("a"), workers, at_once=1)
    assert workers.started == ["a"] * (RETRIES + 1)
    assert str(caught.value).startswith("a: the worker is gone, 4 times (")


def test_too_little_memory_is_met_with_fewer_at_a_time() -> None:
    crowded = raises(OutOfMemoryError("no memory"), lambda _, together: together > 1, "done")
    workers = Scripted(dict.fromkeys("abcd", crowded))
    told: list[str] = []
    results = do_all(
        tasks("abcd"), workers, at_once=4, on_event=lambda event: told.append(event.told)
    )
    assert results == ["done"] * 4
    assert "out of memory with 4 at a time, again with 2" in told
    assert workers.most == 4


def test_too_little_memory_for_one_alone_is_reported_in_one_line() -> None:
    workers = Scripted({"a": raises(OutOfMemoryError("9 GiB"), lambda *_: True, None)})
    with pytest.raises(OutOfMemoryError) as caught:
        do_all(tasks("a"), workers, at_once=3)
    assert str(caught.value).startswith("a: runs out of memory even alone: 9 GiB (give fewer")
    assert workers.started == ["a"]


def test_what_a_task_raises_is_final_and_the_others_go_on_if_they_may() -> None:
    wrong = raises(DatasetError("is damaged"), lambda *_: True, None)
    workers = Scripted({"a": wrong, "b": gives("B")})
    with pytest.raises(DatasetError, match="is damaged"):
        do_all(tasks("ab"), workers, at_once=1)
    workers = Scripted({"a": wrong, "b": gives("B")})
    first, second = do_all(tasks("ab"), workers, at_once=1, keep_going=True)
    assert (str(first), second) == ("is damaged", "B")
    assert workers.started == ["a", "b"]


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"), True),
        (RuntimeError("shapes do not fit"), False),
    ],
)
def test_words_for_too_little_memory(error: Exception, wanted: bool) -> None:
    assert is_out_of_memory(error) == wanted
