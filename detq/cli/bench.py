"""``detq bench``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detq.cli.arguments import AnySize, Backend, Count, Flag
from detq.cli.output import Output, print_table
from detq.cli.scoring import warn_of_wrong_sums
from detq.errors import InputError

if TYPE_CHECKING:
    from detq_deploy.bench import BenchResult, Contender, Timing


def bench(
    *models: Path,
    backend: list[Backend] | None = None,
    rounds: Count = 15,
    threads: Count | None = None,
    batch: list[Count] | None = None,
    size: AnySize = None,
    end_to_end: Path | None = None,
    cuda_graph: Flag = False,
    profile: Path | None = None,
    on: str | None = None,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Time models, each in a process of its own, in turn; ratios are to the first.

    Example: detq bench float.onnx model.openvino.onnx --backend openvino

    Example: detq bench fp16.engine int8.engine --batch 1 --batch 8 --cuda-graph

    Args:
        models: ONNX files, each timed on each backend, and TensorRT engines.
        backend: Engine for ONNX files, onnxruntime if not given; may be given again.
        rounds: Bursts of each contender.
        threads: Threads of each engine; the usable cores if not given.
        batch: Images in a run; may be given again.
        size: Input size in pixels, where a file fixes none.
        end_to_end: Pictures, a folder or data set: also time letterbox, model and boxes together.
        cuda_graph: Let TensorRT replay its run as a CUDA graph.
        profile: File for what each layer costs, measured after the rest; one backend.
        on: Device to time them on, user@host or user@host:port, by ssh.
        out: How the result is told.
    """
    from detq.whole_file import require_apart, require_writable
    from detq_deploy.bench import bench as time_contenders

    if profile is not None:
        require_apart(profile, *models, end_to_end)
        require_writable(profile)
    if on is not None:
        given = {
            "backend": backend, "threads": threads, "batch": batch, "size": size,
            "cuda_graph": cuda_graph,
        }  # fmt: skip
        local = {"--end-to-end": end_to_end, "--profile": profile}
        return _bench_there(on, models, given, local, rounds, out)
    contenders = _contenders(
        models, backend or (), batch or (None,), end_to_end, cuda_graph, threads
    )
    for path, name in dict.fromkeys((one.path, one.backend) for one in contenders):
        warn_of_wrong_sums(path, name, out)
    if profile is not None:
        _require_one_backend(contenders)
    with out.progress("time", rounds) as on_round:
        found = time_contenders(contenders, rounds=rounds, size=size, on_round=on_round)
    if profile is not None:
        first = batch[0] if batch else None
        _profile(models, contenders[0].backend, threads, first, size, profile, out)
    out.tell(found, lambda: _show(found))


def _bench_there(
    on: str,
    models: Sequence[Path],
    given: Mapping[str, object],
    local: Mapping[str, object],
    rounds: int,
    out: Output,
) -> None:
    from detq.cli.options import words_from
    from detq_deploy.remote.bench import bench_there
    from detq_deploy.remote.host import host_from

    if not models:
        raise InputError("no model to time", hint="give one or more model files")
    for option, value in local.items():
        if value is not None:
            raise InputError("works here alone", where=option, hint="leave it out, or --on")
    with out.progress(f"time on {on}", rounds) as on_round:
        found = bench_there(
            host_from(on), models, words_from(given), rounds=rounds, on_round=on_round
        )
    out.tell(found, lambda: _show(found))


def _contenders(
    models: Sequence[Path],
    backends: Sequence[str],
    batches: Sequence[int | None],
    pictures: Path | None,
    cuda_graph: bool,
    threads: int | None,
) -> "list[Contender]":
    from detq_deploy.backends import pairs_of
    from detq_deploy.bench import Contender

    pairs = pairs_of(models, backends)
    if not pairs:
        raise InputError("no model to time", hint="give one or more model files")
    if cuda_graph and all(name != "tensorrt" for _, name in pairs):
        raise InputError(
            "only TensorRT has CUDA graphs", where="--cuda-graph", hint="give it an .engine"
        )
    alone = [
        Contender(model, name, threads, batch=count, cuda_graph=cuda_graph and name == "tensorrt")
        for count in batches
        for model, name in pairs
    ]
    return alone if pictures is None else [*alone, *(_with_boxes(one, pictures) for one in alone)]


def _with_boxes(alone: "Contender", pictures: Path) -> "Contender":
    from dataclasses import replace

    from detq.cli.end_to_end import PICTURES_TO_BOXES

    return replace(alone, step=PICTURES_TO_BOXES, pictures=pictures)


def _require_one_backend(contenders: "Sequence[Contender]") -> None:
    names = dict.fromkeys(contender.backend for contender in contenders)
    if len(names) > 1:
        raise InputError(
            f"is of one backend, and there are {' and '.join(names)}",
            where="--profile",
            hint="profile the models of one at a time",
        )
    if "torch" in names:
        raise InputError(
            "torch does not tell the time of a layer", where="--profile", hint="use another backend"
        )


def _profile(
    models: Sequence[Path],
    backend: str,
    threads: int | None,
    batch: int | None,
    size: tuple[int, int] | None,
    path: Path,
    out: Output,
) -> None:
    from detq_deploy.layer_profile import profile_layers, write_profile

    with out.progress("time layers", len(models)) as on_model:
        found = profile_layers(
            models, backend, threads=threads, batch=batch, size=size, on_model=on_model
        )
    write_profile(found, path)
    out.note(f"{path}: what {len(found.layers)} layers cost in {found.engine}")


def _show(found: "BenchResult") -> None:
    on_gpu = any(t.gpu_ms is not None for t in found.timings)
    rows = [_row(t, on_gpu) for t in found.timings]
    columns = [
        "model engine", "batch", "ms per image", "99 %", *(["GPU ms"] if on_gpu else []),
        "a second", "speed-up", "10 % to 90 %", "CPU ms", "MiB", "INT8 layers",
    ]  # fmt: skip
    first = found.timings[0]
    title = f"{found.cpu.model} ({found.isa}), {first.threads} threads"
    print_table(title, columns, rows)
    for when, state in zip(("before", "after"), found.gpu, strict=False):
        print(f"{when}: {state.text}")


def _row(t: "Timing", on_gpu: bool) -> list[str]:
    gpu = "" if t.gpu_ms is None else f"{t.gpu_ms.median:.3f}"
    how = " with boxes" * bool(t.step) + " as a graph" * t.cuda_graph
    return [
        f"{Path(t.path).name} {t.engine}{how}",
        str(t.batch),
        f"{t.wall_ms.median:.2f}",
        f"{t.wall_ms.p99:.2f}",
        *([gpu] if on_gpu else []),
        f"{t.images_per_second:.1f}",
        f"{t.speedup.median:.2f}",
        f"{t.speedup.p10:.2f} to {t.speedup.p90:.2f}",
        f"{t.cpu_ms.median:.2f}",
        f"{t.peak_rss_mib:.0f}",
        "" if t.layers is None else f"{t.layers.int8} of {t.layers.convolutions}",
    ]
