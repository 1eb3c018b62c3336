"""Latency of models and engines side by side.

Every contender has a process of its own: thread pools of two engines in one process disturb
each other by a factor. The driver asks one after the other for a short burst, and turns the
order round after each round, so that whatever else the machine does meets all alike. Ratios
are taken within a round.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import msgspec

from detq.errors import InputError
from detq_deploy.bench_messages import Burst, Inspect, Open, Ready, Timed
from detq_deploy.bench_process import WorkerProcess
from detq_deploy.cpu import CpuFeatures, cpu_features
from detq_deploy.inspect_cpu import LayerCounts
from detq_deploy.latency import Spread, speedup, spread
from detq_deploy.trt.clocks import GpuState, gpu_state


@dataclass(frozen=True, slots=True)
class Contender:
    """One model in one engine.

    Attributes:
        path: model file.
        backend: a key of ``detq_deploy.backends.BACKENDS``.
        threads: the usable cores if None.
        batch: images in a run; what ``bench`` is given if None.
        cuda_graph: TensorRT replays its run as a CUDA graph.
        step: what is timed instead of the model alone; see ``detq_deploy.bench_messages.Open``.
        pictures: for ``step``.
    """

    path: Path
    backend: str
    threads: int | None = None
    batch: int | None = None
    cuda_graph: bool = False
    step: str = ""
    pictures: Path | None = None


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one contender.

    Attributes:
        path: model file.
        backend: as asked for.
        engine: name and version.
        threads: it was allowed.
        batch: images in a run.
        size: height and width of an image.
        wall_ms: elapsed time per image, over all runs.
        cpu_ms: processor time per image, all threads together, over the rounds.
        images_per_second: from the median of ``wall_ms``.
        speedup: elapsed time of the first contender over this one's, over the rounds.
        cpu_speedup: the same of processor time: steadier on a busy machine, with 1 thread.
        peak_rss_mib: most memory of the process.
        layers: how the convolutions run; None where the backend cannot tell.
        gpu_ms: per image, between events around the kernels; None on a CPU.
        step: what was timed instead of the model alone; empty for that.
        cuda_graph: TensorRT replayed its run as a CUDA graph.
    """

    path: str
    backend: str
    engine: str
    threads: int
    batch: int
    size: tuple[int, int]
    wall_ms: Spread
    cpu_ms: Spread
    images_per_second: float
    speedup: Spread
    cpu_speedup: Spread
    peak_rss_mib: float
    layers: LayerCounts | None
    gpu_ms: Spread | None = None
    step: str = ""
    cuda_graph: bool = False


class BenchResult(msgspec.Struct, frozen=True, kw_only=True):
    """Contenders in the order given, and the machine they met on.

    Attributes:
        cpu: the processor.
        isa: its instruction set for INT8, short.
        load_average: processes that wanted a core in the minute before; None if unknown.
        rounds: bursts of each contender.
        timings: one per contender.
        gpu: clocks and power mode before and after, where a contender ran on one.
    """

    cpu: CpuFeatures
    isa: str
    load_average: float | None
    rounds: int
    timings: tuple[Timing, ...]
    gpu: tuple[GpuState, ...] = ()


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to run and rest.

    Attributes:
        burst_ms: shortest burst.
        burst_runs: fewest runs in a burst.
        pause_ms: rest after a burst, in which threads that spin come to sleep.
        warmup_ms: run before the first round.
    """

    burst_ms: float = 100
    burst_runs: int = 2
    pause_ms: float = 10
    warmup_ms: float = 500


def bench(
    contenders: Sequence[Contender],
    *,
    rounds: int = 15,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    images: Path | None = None,
    pace: Pace = Pace(),
    inspect: bool = True,
    on_round: Callable[[int], None] = lambda done: None,
) -> BenchResult:
    """Time ``contenders`` against each other; the first is what the others are compared with.

    Args:
        contenders: at least one; the same one twice measures the noise.
        rounds: bursts of each.
        batch: images in a run; the file's fixed batch, or 1, if None.
        size: height and width, needed only where a file fixes none.
        images: ``.npz`` with prepared images (``detq_deploy.bench_images``); noise if None.
        pace: lengths of bursts and pauses.
        inspect: also count the convolutions that run in INT8, after the timing.
        on_round: called with the number of rounds done.

    Raises:
        DetqError: a contender cannot be opened or run, with its own one-line error.
    """
    if not contenders or rounds < 1 or (batch is not None and batch < 1):
        raise InputError("nothing to time", hint="one model, one round and one image at least")
    cpu, load = cpu_features(), _load_average()
    orders = [
        Open(
            backend=contender.backend,
            path=str(contender.path),
            threads=cpu.usable_cores if contender.threads is None else contender.threads,
            batch=contender.batch or batch,
            size=size,
            images=None if images is None else str(images),
            warmup_ms=pace.warmup_ms,
            cuda_graph=contender.cuda_graph,
            step=contender.step,
            pictures=str(contender.pictures or ""),
        )
        for contender in contenders
    ]
    with ExitStack() as stack:
        workers = [
            stack.enter_context(WorkerProcess(f"{order.path} in {order.backend}"))
            for order in orders
        ]
        ready = [worker.ask(order) for worker, order in zip(workers, orders, strict=True)]
        on_gpu = any(contender.backend == "tensorrt" for contender in contenders)
        before = gpu_state() if on_gpu else None
        bursts = _run_rounds(workers, rounds, pace, on_round)
        after = gpu_state() if on_gpu else None
        layers = [worker.ask(Inspect()).layers if inspect else None for worker in workers]
    timings = tuple(
        timing_from_bursts(*facts, bursts[0])
        for facts in zip(orders, ready, layers, bursts, strict=True)
    )
    return BenchResult(
        cpu=cpu,
        isa=cpu.isa_label,
        load_average=load,
        rounds=rounds,
        timings=timings,
        gpu=tuple(state for state in (before, after) if state is not None),
    )


def _run_rounds(
    workers: Sequence[WorkerProcess], rounds: int, pace: Pace, on_round: Callable[[int], None]
) -> list[list[Timed]]:
    bursts: list[list[Timed]] = [[] for _ in workers]
    order = list(range(len(workers)))
    for done in range(1, rounds + 1):
        for index in order:
            bursts[index].append(workers[index].ask(Burst(ms=pace.burst_ms, runs=pace.burst_runs)))
            time.sleep(pace.pause_ms / 1000)
        order.reverse()
        on_round(done)
    return bursts


def timing_from_bursts(
    order: Open,
    ready: Ready,
    layers: LayerCounts | None,
    bursts: Sequence[Timed],
    base: Sequence[Timed],
) -> Timing:
    """The figures of one contender; ``base`` are the bursts of the first, round by round."""
    wall = spread([ms for burst in bursts for ms in burst.wall_ms])
    gpu = [ms for burst in bursts for ms in burst.gpu_ms]
    return Timing(
        path=order.path,
        backend=order.backend,
        engine=ready.engine,
        threads=order.threads,
        batch=ready.batch,
        size=ready.size,
        wall_ms=wall,
        cpu_ms=spread([burst.cpu_ms for burst in bursts]),
        images_per_second=1000 / wall.median,
        speedup=speedup(*([fmean(b.wall_ms) for b in those] for those in (base, bursts))),
        cpu_speedup=speedup(*([b.cpu_ms for b in those] for those in (base, bursts))),
        peak_rss_mib=max(burst.peak_rss_mib for burst in bursts),
        layers=layers,
        gpu_ms=spread(gpu) if gpu else None,
        step=order.step,
        cuda_graph=order.cuda_graph,
    )


def _load_average() -> float | None:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
