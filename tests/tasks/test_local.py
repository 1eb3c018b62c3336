import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from detq.errors import DatasetError
from detq.tasks.drive import Event, do_all
from detq.tasks.local import LocalWorkers
from detq.tasks.task import OutOfMemoryError, Task
from tests.tasks import work


def test_each_task_has_a_process_of_its_own() -> None:
    tasks = [Task(str(n), work.process) for n in range(2)]
    with LocalWorkers() as workers:
        found = do_all(tasks, workers, at_once=2)
    assert len({*found, os.getpid()}) == 3


def test_a_killed_process_is_replaced(tmp_path: Path) -> None:
    events: list[Event] = []
    task = Task("a", work.dies_at_first, {"folder": tmp_path, "times": 1})
    with LocalWorkers() as workers:
        assert do_all([task], workers, at_once=1, on_event=events.append) == [2]
    assert [event.told for event in events if event.state == "again"] == [
        "the worker was killed, perhaps for want of memory"
    ]


def test_a_task_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from detq.tasks.local import LocalWorkers
from detq.tasks.task import Task
from tests.tasks.work import tells_and_waits
if __name__ == "__main__":
    workers = LocalWorkers()
    workers.start(Task("a", tells_and_waits, {{"path": Path({str(tmp_path / "pid")!r}),
                                              "seconds": 600}}))
    import time
    time.sleep(600)
"""
    file = tmp_path / "program.py"
    file.write_text(program)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    starter = subprocess.Popen([sys.executable, str(file)], env=env)
    wait_until((tmp_path / "pid").is_file)
    pid = int((tmp_path / "pid").read_text())
    starter.kill()
    starter.wait()
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_an_error_keeps_its_class_and_its_words() -> None:
    with LocalWorkers() as workers, pytest.raises(DatasetError) as caught:
        do_all([Task("a", work.wrong, {"path": "x.jpg"})], workers, at_once=1)
    assert str(caught.value) == "x.jpg: is damaged (give another)"


def test_too_little_memory_is_told_and_met(tmp_path: Path) -> None:
    names = ["a", "b"]
    tasks = [Task(n, work.greedy_in_company, {"folder": tmp_path, "name": n}) for n in names]
    with LocalWorkers() as workers:
        assert do_all(tasks, workers, at_once=2) == names
        with pytest.raises(OutOfMemoryError, match="even alone: cannot have 99 GiB"):
            do_all([Task("c", work.greedy)], workers, at_once=1)
