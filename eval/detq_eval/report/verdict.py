"""What a run comes to: one sentence, four figures, and what to keep in mind.

Nothing is said that was not measured; what is missing is said to be missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from detq_eval.report.records import FLOAT, RunRecords, Timing
from detq_eval.report.text import DECILES, NOTHING, PERCENT, TIMES, megabytes, points, signed

_FEW = 3


@dataclass(frozen=True, slots=True)
class Tile:
    """One large figure.

    Attributes:
        title: what it is.
        text: the figure.
        note: in small print below.
    """

    title: str
    text: str
    note: str


def verdict(run: RunRecords) -> str:
    """The run in one sentence."""
    name = run.detector.family or "the network"
    told = [part for part in (_accuracy(run), _speed(run), _size(run)) if part]
    where = _engine(run)
    if not told:
        return f"{name[0].upper()}{name[1:]} in INT8: nothing was measured."
    start = f"In {where}, {name}" if where else f"{name[0].upper()}{name[1:]}"
    return f"{start} {_listed(told)}."


def tiles(run: RunRecords) -> list[Tile]:
    """The same as figures."""
    return [_accuracy_tile(run), _speed_tile(run), _size_tile(run), _layers_tile(run)]


def cautions(run: RunRecords) -> Iterator[str]:
    """What makes the figures say less than they seem to: the run's own warnings first."""
    yield from run.metrics.warnings
    yield from _not_measured(run)
    yield from _slower(run)


def machine(run: RunRecords) -> str:
    """Where the figures were measured, as far as the records say."""
    isas = dict.fromkeys(score.isa for score in run.metrics.accuracy.values())
    told = [run.manifest.platform, run.metrics.speed.cpu, *(isas or [run.metrics.speed.isa])]
    return " · ".join(part for part in told if part)


def subject_timing(run: RunRecords) -> Timing | None:
    """Speed of the subject."""
    return run.metrics.speed.timings.get(run.metrics.subject.label)


def _engine(run: RunRecords) -> str:
    """Where accuracy and speed were measured."""
    score, timing = run.score(run.metrics.subject.label), subject_timing(run)
    if score is not None:
        return f"{score.engine} ({score.isa})"
    return f"{timing.engine} ({run.metrics.speed.isa})" if timing is not None else ""


def _accuracy(run: RunRecords) -> str:
    before, after = run.score(FLOAT), run.score(run.metrics.subject.label)
    if before is None or after is None:
        return ""
    return f"goes from {points(before.ap)} AP in float to {points(after.ap)} AP in INT8"


def _speed(run: RunRecords) -> str:
    timing = subject_timing(run)
    if timing is None:
        return ""
    times = timing.speedup.median
    # What is slower is told as it is, not as a speed-up of less than one.
    told = f"{times:.2f} times as fast" if times >= 1 else f"{1 / times:.2f} times slower"
    score = run.score(run.metrics.subject.label)
    elsewhere = "" if score is None or score.engine == timing.engine else f" in {timing.engine}"
    return f"runs {told}{elsewhere}"


def _size(run: RunRecords) -> str:
    before, after = run.sizes.get(FLOAT), run.sizes.get(run.metrics.subject.label)
    if not before or not after:
        return ""
    return f"takes {megabytes(after)} instead of {megabytes(before)}"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _accuracy_tile(run: RunRecords) -> Tile:
    before, after = run.score(FLOAT), run.score(run.metrics.subject.label)
    if before is None or after is None:
        return Tile("COCO AP", NOTHING, "not measured")
    text = f"{points(before.ap)} → {points(after.ap)}"
    change = signed(100 * (after.ap - before.ap))
    return Tile("COCO AP, float → INT8", text, f"{change} points on {after.images} images")


def _speed_tile(run: RunRecords) -> Tile:
    timing = subject_timing(run)
    if timing is None:
        return Tile("Speed", NOTHING, "not measured")
    low, high = timing.speedup.p10, timing.speedup.p90
    note = f"{low:.2f} to {high:.2f} ({DECILES}), {run.metrics.speed.isa}"
    return Tile("Speed-up", f"{timing.speedup.median:.2f} {TIMES}", note)


def _size_tile(run: RunRecords) -> Tile:
    before, after = run.sizes.get(FLOAT), run.sizes.get(run.metrics.subject.label)
    if not before or not after:
        return Tile("File", NOTHING, "missing")
    share = f"{100 * after / before:.0f}{PERCENT} of the float file"
    return Tile("File, float → INT8", f"{before / 1e6:.1f} → {megabytes(after)}", share)


def _layers_tile(run: RunRecords) -> Tile:
    counts = run.metrics.layers.get(run.metrics.subject.label)
    if counts is None:
        return Tile("INT8 layers", NOTHING, "missing")
    left = counts["all"] - counts["int8"]
    return Tile("INT8 layers", f"{counts['int8']} of {counts['all']}", f"{left} stay float")


def _not_measured(run: RunRecords) -> Iterator[str]:
    metrics = run.metrics
    if not metrics.accuracy:
        yield "accuracy was not measured: the recipe has no evaluation"
    if not metrics.speed.timings:
        yield "speed was not measured: the recipe has no bench"
    elif metrics.subject.label not in metrics.speed.timings:
        yield "speed of the INT8 model was not measured"
    run_labels = {key.split(" ")[0] for key in metrics.accuracy} | set(metrics.speed.timings)
    written = [file for label, file in metrics.files.items() if label not in run_labels]
    if written:
        yield f"written, but run on no engine here: {', '.join(written)}"


def _slower(run: RunRecords) -> Iterator[str]:
    timing = subject_timing(run)
    if timing is None or timing.speedup.median >= 1:
        return
    layers = timing.layers
    if layers is None or layers.int8 == layers.convolutions:
        yield f"INT8 is slower than float in {timing.engine}"
        return
    names = ", ".join(layers.in_float[:_FEW]) + (", …" if len(layers.in_float) > _FEW else "")
    yield (
        f"INT8 is slower than float in {timing.engine}, which runs "
        f"{layers.convolutions - layers.int8} of {layers.convolutions} convolutions in float: "
        f"{names}"
    )
