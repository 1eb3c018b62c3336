"""A real cluster on this machine; its processes are this test's own."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'detq[ray]'")

from detq.errors import DatasetError, InputError
from detq.tasks.drive import Event, do_all
from detq.tasks.ray_workers import RayWorkers
from detq.tasks.task import OutOfMemoryError, Task
from tests.tasks import work

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    # Ray's own, of which nothing is ours to change.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:1"])
def test_no_cluster_at_the_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(InputError) as caught:  # before this file's own cluster is there
        RayWorkers(address)
    assert str(caught.value).startswith(f"--ray {address}: no Ray cluster: ")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayWorkers]:
    from tests.ray_cluster import ray_cluster

    with ray_cluster(3), RayWorkers("auto") as workers:
        yield workers


def test_tasks_are_done_elsewhere_in_order(cluster: RayWorkers) -> None:
    tasks = [Task(str(n), work.square, {"x": n}) for n in range(5)]
    assert cluster.cores == 3
    assert do_all(tasks, cluster, at_once=3) == [0, 1, 4, 9, 16]
    assert do_all([Task("a", work.process)], cluster, at_once=1) != [os.getpid()]


def test_a_worker_that_is_killed_midway_is_replaced(cluster: RayWorkers, tmp_path: Path) -> None:
    events: list[Event] = []
    pid = tmp_path / "pid"
    tasks = [
        Task("long", work.tells_and_waits, {"path": pid, "seconds": 3}),
        Task("short", work.square, {"x": 3}),
    ]

    def kill() -> None:
        while not pid.is_file():
            time.sleep(0.05)
        os.kill(int(pid.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert do_all(tasks, cluster, at_once=2, on_event=events.append) == ["done", 9]
    killer.join()
    assert [event.task for event in events if event.state == "again"] == ["long"]


def test_errors_are_those_of_local_workers(cluster: RayWorkers) -> None:
    with pytest.raises(DatasetError) as caught:
        do_all([Task("a", work.wrong, {"path": "x.jpg"})], cluster, at_once=1)
    assert str(caught.value) == "x.jpg: is damaged (give another)"
    with pytest.raises(OutOfMemoryError, match="even alone: cannot have 99 GiB"):
        do_all([Task("c", work.greedy)], cluster, at_once=1)
