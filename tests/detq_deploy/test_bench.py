import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from detq.errors import InputError, TargetError
from detq_deploy.bench import BenchResult, Contender, Pace, bench, timing_from_bursts
from detq_deploy.bench_messages import Burst, Open, Ready, Timed
from detq_deploy.bench_process import WorkerProcess
from detq_deploy.cpu import cpu_features
from detq_deploy.latency import Spread

linux_only = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="this system does not list children in /proc"
)
QUICK = Pace(burst_ms=2, burst_runs=3, pause_ms=1, warmup_ms=5)


def opening(path: Path) -> Open:
    return Open(
        backend="onnxruntime", path=str(path), threads=1, batch=None, size=None, images=None,
        warmup_ms=1,
    )  # fmt: skip


def test_two_engines(float_file: Path, qdq_file: Path) -> None:
    rounds: list[int] = []
    result = bench(
        [Contender(float_file, "onnxruntime", 1), Contender(qdq_file, "openvino")],
        rounds=3,
        pace=QUICK,
        on_round=rounds.append,
    )
    assert rounds == [1, 2, 3]
    first, second = result.timings
    assert (first.speedup.median, first.speedup.p10, first.speedup.p90) == (1, 1, 1)
    assert (first.threads, second.threads) == (1, cpu_features().usable_cores)
    assert (first.batch, first.size) == (1, (16, 16))
    assert first.engine.startswith("ONNX Runtime ")
    assert second.engine.startswith("OpenVINO ")
    for timing in result.timings:
        assert 0 < timing.wall_ms.min <= timing.wall_ms.p10 <= timing.wall_ms.median
        assert timing.wall_ms.median <= timing.wall_ms.p90
        assert timing.cpu_ms.median > 0
        assert timing.images_per_second == pytest.approx(1000 / timing.wall_ms.median)
        assert timing.peak_rss_mib > 10
        assert timing.layers is not None
    assert [timing.layers.int8 for timing in result.timings if timing.layers] == [0, 2]
    assert result.isa == cpu_features().isa_label
    assert msgspec.json.decode(msgspec.json.encode(result), type=BenchResult) == result


def test_figures_of_two_rounds() -> None:
    base = [Timed(wall_ms=[4, 8], cpu_ms=10, peak_rss_mib=50) for _ in range(2)]
    bursts = [
        Timed(wall_ms=[1, 2, 3], cpu_ms=4, peak_rss_mib=60),
        Timed(wall_ms=[6], cpu_ms=2, peak_rss_mib=70),
    ]
    found = timing_from_bursts(
        opening(Path("x")), Ready(engine="E 1", batch=2, size=(4, 6)), None, bursts, base
    )
    assert found.wall_ms == Spread(
        median=2.5, p10=pytest.approx(1.3), p90=pytest.approx(5.1), p99=pytest.approx(5.91), min=1
    )
    assert found.images_per_second == 400
    assert (found.cpu_ms.median, found.cpu_ms.min) == (3, 2)
    # Round means: 6 to 2, then 6 to 6.
    assert (found.speedup.median, found.speedup.min) == (2, 1)
    assert (found.cpu_speedup.median, found.cpu_speedup.min) == (3.75, 2.5)
    assert found.peak_rss_mib == 70


@linux_only
def test_threads_reach_the_engine(float_file: Path) -> None:
    seen: list[int] = []
    bench(
        [Contender(float_file, "onnxruntime", 1), Contender(float_file, "onnxruntime", 3)],
        rounds=1,
        pace=QUICK,
        inspect=False,
        on_round=lambda done: seen.extend(map(threads_of, children(os.getpid()))),
    )
    assert seen[1] - seen[0] == 2


def test_time_is_per_image(write_chain: Callable[..., Path]) -> None:
    path = write_chain(batch="B", height="H")
    one, many = (
        bench(
            [Contender(path, "onnxruntime", 1)],
            rounds=3,
            batch=batch,
            size=(128, 16),
            pace=QUICK,
            inspect=False,
        ).timings[0]
        for batch in (1, 16)
    )
    assert (one.batch, many.batch, many.size) == (1, 16, (128, 16))
    # Sixteen images take about sixteen times as long, so one of them about as long as alone.
    assert 1 / 4 < many.wall_ms.min / one.wall_ms.min < 4
    assert many.layers is None


def test_an_error_in_a_worker_is_the_drivers(float_file: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none.onnx"
    with pytest.raises(InputError, match="no such file") as caught:
        bench([Contender(float_file, "openvino"), Contender(missing, "onnxruntime")], pace=QUICK)
    assert caught.value.where == str(missing)


@pytest.mark.parametrize(("count", "rounds", "batch"), [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_nothing_to_time(count: int, rounds: int, batch: int, float_file: Path) -> None:
    with pytest.raises(InputError, match="nothing to time"):
        bench([Contender(float_file, "openvino")] * count, rounds=rounds, batch=batch)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_worker_that_dies_is_one_line(float_file: Path) -> None:
    with WorkerProcess("tiny.onnx in onnxruntime") as worker:
        worker.ask(opening(float_file))
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(TargetError) as caught:
            worker.ask(Burst(ms=1, runs=1))
    assert str(caught.value) == "tiny.onnx in onnxruntime: stopped: signal SIGKILL"


def test_the_last_words_of_a_worker_are_quoted(float_file: Path) -> None:
    with WorkerProcess("tiny") as worker:
        worker.ask(opening(float_file))
        with pytest.raises(TargetError, match=r"exit status 1, msgspec.ValidationError: .*Open"):
            worker.ask(opening(float_file))


def test_leaving_ends_the_worker(float_file: Path) -> None:
    with WorkerProcess("tiny") as worker:
        worker.ask(opening(float_file))
        assert is_alive(worker.pid)
    assert not is_alive(worker.pid)


DRIVER = """
import sys
from pathlib import Path
from detq_deploy.bench import Contender, Pace, bench

path = Path(sys.argv[1])
contenders = [Contender(path, "onnxruntime", 1), Contender(path, "onnxruntime", 2)]
bench(contenders, rounds=10**6, pace=Pace(burst_ms=2, warmup_ms=1),
      on_round=lambda done: print(done, flush=True))
"""


@linux_only
@pytest.mark.parametrize("death", [signal.SIGINT, signal.SIGKILL])
def test_workers_die_with_the_driver(death: signal.Signals, float_file: Path) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(float_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # What tests in the background start has Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with driver:
        assert driver.stdout is not None
        driver.stdout.readline()  # the first round is done
        workers = children(driver.pid)
        assert len(workers) == 2
        # Ctrl-C reaches the whole group; a kill the driver alone.
        (os.killpg if death == signal.SIGINT else os.kill)(driver.pid, death)
        driver.wait(timeout=20)
    deadline = time.monotonic() + 20
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_alive, workers))


def children(pid: int) -> list[int]:
    """Workers of ``pid``, whose other tests may have left processes of their own."""
    found = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [n for n in found if b"bench_worker" in Path(f"/proc/{n}/cmdline").read_bytes()]


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"
