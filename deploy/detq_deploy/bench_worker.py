"""One contender of a benchmark in a process of its own: ``python -m detq_deploy.bench_worker``.

Speaks lines of JSON (``detq_deploy.bench_messages``) on its standard streams, and ends when
its input does, so it never outlives the driver.
"""

import importlib
import itertools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from detq.errors import DetqError
from detq.runner import Runner
from detq_deploy.backends import open_runner
from detq_deploy.bench_images import batches, input_size, takes_pixels
from detq_deploy.bench_messages import (
    Burst,
    Inspected,
    Open,
    Ready,
    Request,
    Timed,
    failed_from_error,
    receive,
    send,
)
from detq_deploy.inspect_cpu import INSPECTORS, int8_layers
from detq_deploy.peak_memory import peak_rss_mib

Step = Callable[[], object]


def main() -> None:
    """Serve one driver."""
    replies = _private_stdout()
    try:
        _serve(sys.stdin.buffer, replies)
    except BrokenPipeError:
        pass  # the driver is gone
    except DetqError as error:
        send(replies, failed_from_error(error))


def _private_stdout() -> IO[bytes]:
    """Standard output for us alone: what an engine prints goes to standard error."""
    ours = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return ours


def _serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    order = receive(requests, Open)
    if order is None:
        return
    path = Path(order.path)
    options = {"threads": order.threads, "cuda_graph": order.cuda_graph}
    with open_runner(order.backend, path, **options) as run:
        batch = order.batch or run.batch or 1
        size = order.size or input_size(path, run)
        step = _step(run, order, batch, size)
        _time_burst(run, step, batch, Burst(ms=order.warmup_ms, runs=2))
        send(replies, Ready(engine=run.name, batch=batch, size=size))
        while (request := receive(requests, Request)) is not None:
            if isinstance(request, Burst):
                send(replies, _time_burst(run, step, batch, request))
            else:
                send(replies, _inspect(order))


def _step(run: Runner, order: Open, batch: int, size: tuple[int, int]) -> Step:
    if not order.step:
        images = batches(batch, size, order.images, pixels=takes_pixels(run))
        feed = itertools.cycle(images)
        return lambda: run(next(feed))
    module, _, name = order.step.partition(":")
    step: Step = getattr(importlib.import_module(module), name)(run, Path(order.pictures), batch)
    return step


def _inspect(order: Open) -> Inspected:
    known = order.backend in (*INSPECTORS, "tensorrt")
    return Inspected(layers=int8_layers(order.backend, Path(order.path)) if known else None)


def _time_burst(run: Runner, step: Step, batch: int, burst: Burst) -> Timed:
    """Run until both the time and the number of runs of ``burst`` are reached."""
    wall_ms: list[float] = []
    gpu_ms: list[float] = []
    cpu_before, start = time.process_time_ns(), time.perf_counter_ns()
    last = start
    while len(wall_ms) < burst.runs or last - start < burst.ms * 1e6:
        step()
        now = time.perf_counter_ns()
        of_gpu: float | None = getattr(run, "gpu_ms", None)
        if of_gpu is not None:
            gpu_ms.append(of_gpu)
        wall_ms.append((now - last) / 1e6)
        last = now
    cpu_ms = (time.process_time_ns() - cpu_before) / 1e6
    return Timed(
        wall_ms=[ms / batch for ms in wall_ms],
        cpu_ms=cpu_ms / batch / len(wall_ms),
        peak_rss_mib=peak_rss_mib(),
        gpu_ms=[ms / batch for ms in gpu_ms],
    )


if __name__ == "__main__":
    main()
