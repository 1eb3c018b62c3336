"""``detq bench``."""

from pathlib import Path
from typing import TYPE_CHECKING

from detq.cli.arguments import AnySize, Backend, Count
from detq.cli.output import Output, print_table
from detq.cli.scoring import warn_of_overflow
from detq.errors import InputError

if TYPE_CHECKING:
    from detq_deploy.bench import BenchResult


def bench(
    *models: Path,
    backend: list[Backend] | None = None,
    rounds: Count = 15,
    threads: Count | None = None,
    batch: Count | None = None,
    size: AnySize = None,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Time ONNX files, each in a process of its own, in turn; ratios are to the first.

    Example: detq bench float.onnx model.openvino.onnx --backend openvino

    Args:
        models: ONNX files; each is timed on each backend.
        backend: Engine, onnxruntime if not given; may be given again.
        rounds: Bursts of each contender.
        threads: Threads of each engine; the usable cores if not given.
        batch: Images in a run.
        size: Input size in pixels, where a file fixes none.
        out: How the result is told.
    """
    from detq_deploy.bench import Contender
    from detq_deploy.bench import bench as time_contenders

    if not models:
        raise InputError("no model to time", hint="give one or more ONNX files")
    contenders = [
        Contender(model, name, threads) for model in models for name in backend or ["onnxruntime"]
    ]
    for contender in contenders:
        warn_of_overflow(contender.path, contender.backend, out)
    with out.progress("time", rounds) as on_round:
        found = time_contenders(
            contenders, rounds=rounds, batch=batch, size=size, on_round=on_round
        )
    out.tell(found, lambda: _show(found))


def _show(found: "BenchResult") -> None:
    rows = [
        [
            f"{Path(t.path).name} {t.engine}",
            f"{t.wall_ms.median:.2f}",
            f"{t.speedup.median:.2f}",
            f"{t.speedup.p10:.2f} to {t.speedup.p90:.2f}",
            f"{t.cpu_ms.median:.2f}",
            f"{t.peak_rss_mib:.0f}",
            "" if t.layers is None else f"{t.layers.int8} of {t.layers.convolutions}",
        ]
        for t in found.timings
    ]
    columns = ["model engine", "ms per image", "speed-up", "10 % to 90 %", "CPU ms", "MiB",
               "INT8 layers"]  # fmt: skip
    first = found.timings[0]
    title = f"{found.cpu.model} ({found.isa}), {first.threads} threads, batch {first.batch}"
    print_table(title, columns, rows)
