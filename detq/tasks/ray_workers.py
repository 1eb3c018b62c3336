"""Tasks on a Ray cluster: the same as on this machine, started on any of its machines.

Ray starts a lost task again by itself; that is turned off, so that one place decides what is
done again, for both kinds of workers (``detq.tasks.drive``).
"""

import logging
import os
import socket
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from detq.errors import InputError, TargetUnavailableError
from detq.tasks.task import OutOfMemoryError, Task, WorkerLostError, is_out_of_memory


@dataclass(eq=False)
class Running:
    """A task at work.

    Attributes:
        task: which.
        answer: Ray's reference to its result.
    """

    task: Task
    answer: Any


class RayWorkers:
    """Workers of a cluster.

    Args:
        address: of the cluster, ``auto`` for the one this machine belongs to, or ``local`` for a
            new one on this machine.

    Raises:
        TargetUnavailableError: Ray is not installed.
        InputError: there is no cluster at the address.
    """

    def __init__(self, address: str) -> None:
        # It would send its users' data away.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise TargetUnavailableError(
                "Ray is not installed", where="--ray", hint="pip install 'detq[ray]'"
            ) from error
        self._ray = ray
        self._started = not ray.is_initialized()
        if self._started:
            try:
                _require_reachable(address)
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (OSError, ValueError, RuntimeError) as error:
                raise InputError(
                    f"no Ray cluster: {str(error).partition(chr(10))[0]}",
                    where=f"--ray {address}",
                    hint="start one with: ray start --head, or leave --ray out",
                ) from error
        self._call = ray.remote(max_retries=0)(_work)

    @property
    def cores(self) -> int:
        """Of the cluster."""
        ray: Any = self._ray
        return int(ray.cluster_resources().get("CPU", 1))

    def start(self, task: Task) -> Running:
        """Begin a task."""
        options = {"name": task.name, "num_cpus": 0 if task.waits else 1}
        return Running(task, self._call.options(**options).remote(task))

    def wait(self, running: Collection[Running], seconds: float) -> list[Running]:
        """Those that have ended, or none after so many seconds."""
        of = {one.answer: one for one in running}
        ready, _ = self._ray.wait(list(of), num_returns=1, timeout=seconds)
        return [of[answer] for answer in ready]

    def result(self, running: Running) -> Any:
        """What an ended task gave.

        Raises:
            WorkerLostError: its process or machine is gone.
            OutOfMemoryError: it wanted more memory than there is.
            Exception: what the task raised.
        """
        lost = self._ray.exceptions
        try:
            failed, answer = self._ray.get(running.answer)
        except lost.OutOfMemoryError as error:
            raise OutOfMemoryError("Ray ended it", where=running.task.name) from error
        except lost.RayError as error:
            why = str(error).strip().partition("\n")[0]
            raise WorkerLostError(f"the worker is gone: {why}", where=running.task.name) from error
        if failed:
            raise OutOfMemoryError(str(answer)) if is_out_of_memory(answer) else answer
        return answer

    def __enter__(self) -> "RayWorkers":
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the cluster, if it was not entered before."""
        if self._started:
            self._ray.shutdown()


def _require_reachable(address: str) -> None:
    """Ray itself would try for minutes.

    Raises:
        OSError: nobody answers at a host and port.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()


def _work(task: Task) -> tuple[bool, Any]:
    """On the worker; an exception is a value, as Ray would wrap it in a class of its own."""
    try:
        return False, task()
    except Exception as error:  # handed on as it is
        return True, error
