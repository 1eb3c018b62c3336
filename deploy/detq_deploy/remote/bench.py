"""Latency on a device: its own detq takes it where it is installed, else the runner of engines."""

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from detq import __version__
from detq.errors import InputError, TargetError
from detq_deploy.bench import BenchResult, Pace, timing_from_bursts
from detq_deploy.bench_messages import Open, Ready, Timed
from detq_deploy.cpu import features_from_cpuinfo
from detq_deploy.remote import device_runner
from detq_deploy.remote.connection import Connection
from detq_deploy.remote.host import Host
from detq_deploy.remote.store import Store
from detq_deploy.remote.survey import Survey, require_python, survey
from detq_deploy.trt.clocks import GpuState
from detq_deploy.trt.foreign import is_engine
from detq_deploy.trt.side_car import side_car_path

OnRound = Callable[[int], None]


def bench_there(
    host: Host,
    models: Sequence[Path],
    words: Sequence[str] = (),
    *,
    rounds: int = 15,
    on_round: OnRound = lambda done: None,
) -> BenchResult:
    """Time models on a device against each other; ratios are to the first.

    Args:
        host: a device.
        models: engines; ONNX files too, where detq is installed over there.
        words: other options of ``detq bench``, for the detq over there.
        rounds: bursts of each.
        on_round: called with the number of rounds done, where that is known.

    Raises:
        InputError: a file is missing, or an option needs detq over there.
        TargetError: the host, what is installed there, or an engine refuses.
        TargetUnavailableError: asyncssh is not installed.
    """
    for model in models:
        if not model.is_file():
            raise InputError("no such file", where=str(model), hint="give the path of a model")
    with Connection(host) as connection:
        found = survey(connection)
        store = Store(connection, found.cache)
        there = [store.together(_with_side_car(model))[0] for model in models]
        if found.detq_python and found.detq_version == __version__:
            told = [*words, "--rounds", str(rounds)]
            return _by_detq(connection, found, models, there, told)
        _require_engines(models, words, host)
        python = require_python(replace(found, detq_python=""), str(host))
        script = store.send(Path(device_runner.__file__))
        command = [python, script, "bench", str(rounds), str(Pace().burst_ms), *there]
        heard = _Heard(len(models), on_round)
        done = connection.run(f"exec {shlex.join(command)}", heard.line)
        if heard.error or done.code != 0 or heard.after is None:
            what, hint = heard.error or (f"the runner there stopped: {done.last_words}", "")
            raise TargetError(what, where=str(host), hint=hint)
        return heard.result(models, found, rounds)


def _with_side_car(model: Path) -> list[Path]:
    beside = side_car_path(model)
    return [model, *([beside] if is_engine(model) and beside.is_file() else [])]


def _require_engines(models: Sequence[Path], words: Sequence[str], host: Host) -> None:
    others = [model.name for model in models if not is_engine(model)]
    if others or words:
        raise InputError(
            f"{others[0] if others else words[0]} needs detq on {host}",
            where="--on",
            hint="install the same detq there; without it TensorRT engines are timed at the batch "
            "they were built for",
        )


def _by_detq(
    connection: Connection,
    found: Survey,
    models: Sequence[Path],
    there: Sequence[str],
    words: Sequence[str],
) -> BenchResult:
    command = [found.detq_python, "-m", "detq", "bench", *there, *words, "--json"]
    done = connection.run(shlex.join(command))
    if done.code != 0:
        raise TargetError(done.last_words.removeprefix("detq: "), where=str(connection.host))
    result = msgspec.json.decode(done.out, type=BenchResult)
    here = {path: str(model) for path, model in zip(there, models, strict=True)}
    timings = tuple(replace(t, path=here.get(t.path, t.path)) for t in result.timings)
    return replace(result, timings=timings)


class _Heard:
    """What the runner over there says, line by line."""

    def __init__(self, engines: int, on_round: OnRound) -> None:
        self.error: tuple[str, str] | None = None
        self.start: dict[str, Any] = {}
        self.after: list[GpuState] | None = None
        self.bursts: list[list[Timed]] = [[] for _ in range(engines)]
        self._on_round = on_round

    def line(self, text: str) -> None:
        """Take one in."""
        said = json.loads(text)
        if "error" in said:
            self.error = said["error"], said["hint"]
        elif "timed" in said:
            self.bursts[said["engine"]].append(msgspec.convert(said["timed"], _Burst).timed())
            self._on_round(said["round"])
        elif "engines" in said:
            self.start = said
        else:
            self.after = _states(said)

    def result(self, models: Sequence[Path], found: Survey, rounds: int) -> BenchResult:
        """Figures as a bench here gives them."""
        cpu = features_from_cpuinfo(**self.start["cpu"], board=found.module)
        timings = tuple(
            timing_from_bursts(_order(model), _ready(said), None, bursts, self.bursts[0])
            for model, said, bursts in zip(models, self.start["engines"], self.bursts, strict=True)
        )
        return BenchResult(
            cpu=cpu,
            isa=cpu.isa_label,
            load_average=self.start["load"],
            rounds=rounds,
            timings=timings,
            gpu=(*_states(self.start), *(self.after or ())),
        )


class _Burst(msgspec.Struct, frozen=True):
    wall_ms: list[float]
    gpu_ms: list[float]
    cpu_ms: float
    peak_rss_mib: float

    def timed(self) -> Timed:
        return Timed(**msgspec.structs.asdict(self))


def _states(said: dict[str, Any]) -> list[GpuState]:
    return [] if said["gpu"] is None else [msgspec.convert(said["gpu"], GpuState)]


def _order(model: Path) -> Open:
    return Open(
        backend="tensorrt", path=str(model), threads=1, batch=None, size=None, images=None,
        warmup_ms=0,
    )  # fmt: skip


def _ready(said: dict[str, Any]) -> Ready:
    batch, *rest = said["shape"]
    height, width = rest[1:] if rest[0] == 3 else rest[:2]
    return Ready(engine=said["name"], batch=batch, size=(height, width))
