"""``detq bench``."""

from pathlib import Path

from detq.cli.arguments import Output, Size, print_table


def bench(
    *models: Path,
    backend: list[str] | None = None,
    rounds: int = 15,
    threads: int | None = None,
    batch: int | None = None,
    size: Size | None = None,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Time ONNX files, each in a process of its own, in turn; ratios are to the first.

    Example: detq bench float.onnx model.openvino.onnx --backend openvino

    Args:
        models: ONNX files; each is timed on each backend.
        backend: onnxruntime, openvino or torch; may be given again.
        rounds: Bursts of each contender.
        threads: Threads of each engine; the usable cores if not given.
        batch: Images in a run.
        size: Input size in pixels, where a file fixes none.
        out: How the result is told.
    """
    from detq_deploy.bench import BenchResult, Contender
    from detq_deploy.bench import bench as time_contenders

    contenders = [
        Contender(model, name, threads) for model in models for name in backend or ["onnxruntime"]
    ]
    with out.progress("time", rounds) as on_round:
        found: BenchResult = time_contenders(
            contenders, rounds=rounds, batch=batch, size=size, on_round=on_round
        )

    def show() -> None:
        rows = [
            [
                f"{Path(t.path).name} {t.engine}",
                f"{t.wall_ms.median:.2f}",
                f"{t.speedup.median:.2f}",
                f"{t.speedup.p10:.2f} … {t.speedup.p90:.2f}",
                f"{t.cpu_ms.median:.2f}",
                f"{t.peak_rss_mib:.0f}",
                "" if t.layers is None else f"{t.layers.int8} of {t.layers.convolutions}",
            ]
            for t in found.timings
        ]
        columns = ["model engine", "ms per image", "speed-up", "10 % … 90 %", "CPU ms", "MiB",
                   "INT8 layers"]  # fmt: skip
        first = found.timings[0]
        title = f"{found.cpu.model} ({found.isa}), {first.threads} threads, batch {first.batch}"
        print_table(title, columns, rows)

    out.tell(found, show)
