"""Accuracy and speed on the page: rows and charts, made from the records."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from detq_eval.report import charts
from detq_eval.report.records import FLOAT, RunRecords, Score, Subject
from detq_eval.report.text import (
    DECILES,
    NOTHING,
    TIMES,
    points,
    signed,
)

CHANGED = 8  # classes shown before the rest
_SIZES = (("all", "ap"), ("small", "ap_small"), ("medium", "ap_medium"), ("large", "ap_large"))


@dataclass(frozen=True, slots=True)
class EngineRow:
    """An INT8 file on an engine beside the float file there, as text.

    Attributes:
        engine: with its version.
        file: the INT8 file; the float one where no other was scored.
        figures: AP float, AP INT8, change, AP50 and AP75 of both.
        subject: the report is about this one.
        agreement: AP, boxes, missed, invented, score shift; empty if not compared.
    """

    engine: str
    file: str
    figures: tuple[str, ...]
    subject: bool
    agreement: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Float and INT8 side by side."""

    name: str
    chart: Markup
    before: str
    after: str
    change: str


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """One timed file."""

    name: str
    chart: Markup
    median: str
    spread: str
    times: str
    layers: str
    memory: str


def engine_rows(run: RunRecords) -> list[EngineRow]:
    """Every INT8 file on every engine, and engines where the float file alone was scored."""
    accuracy = run.metrics.accuracy
    rows = []
    for key, score in accuracy.items():
        label, backend = key.split(" ")
        if label != FLOAT:
            here = Subject(label, backend) == run.metrics.subject
            rows.append(_engine_row(accuracy.get(f"{FLOAT} {backend}"), score, here))
        elif not any(other.endswith(f" {backend}") for other in accuracy if other != key):
            rows.append(_engine_row(score, None, False))
    return rows


def _engine_row(before: Score | None, after: Score | None, here: bool) -> EngineRow:
    told = after or before
    if told is None:
        raise AssertionError("a row of nothing")
    change = signed(100 * (after.ap - before.ap)) if before and after else NOTHING
    aps, *others = (
        [NOTHING if score is None else points(getattr(score, name)) for score in (before, after)]
        for name in ("ap", "ap50", "ap75")
    )
    figures = (*aps, change, *(" → ".join(pair) for pair in others))
    return EngineRow(told.engine, told.file, figures, here, _agreement(told))


def _agreement(score: Score) -> tuple[str, ...]:
    found = score.agreement
    if found is None:
        return ()
    shift = signed(found.score_shift, 3)
    return (points(found.ap), str(found.boxes), str(found.missed), str(found.invented), shift)


def size_pairs(run: RunRecords) -> list[Pair]:
    """AP over all boxes and over those of each size."""
    before, after = run.score(FLOAT), run.score(run.metrics.subject.label)
    if before is None or after is None:
        return []
    both = [(name, getattr(before, field), getattr(after, field)) for name, field in _SIZES]
    return _pairs(both)


def class_pairs(run: RunRecords) -> list[Pair]:
    """AP of each class that the truth has, the largest change first."""
    before, after = run.score(FLOAT), run.score(run.metrics.subject.label)
    if before is None or after is None:
        return []
    both = [
        (name, value, after.per_class[name])
        for name, value in before.per_class.items()
        if value >= 0 and name in after.per_class
    ]
    return _pairs(sorted(both, key=lambda row: -abs(row[2] - row[1])))


def _pairs(both: Sequence[tuple[str, float, float]]) -> list[Pair]:
    largest = max([value for _, *values in both for value in values], default=1.0)
    return [
        Pair(
            name,
            charts.dumbbell(a, b, largest, f"{name}: float {points(a)}, INT8 {points(b)}"),
            points(a),
            points(b),
            signed(100 * (b - a)) if min(a, b) >= 0 else NOTHING,
        )
        for name, a, b in both
    ]


def latency_rows(run: RunRecords) -> list[LatencyRow]:
    """Every timed file, with bars of one measure."""
    timings = run.metrics.speed.timings
    largest = max([timing.wall_ms.p90 for timing in timings.values()], default=1.0)
    found = []
    for label, timing in timings.items():
        wall, times, layers = timing.wall_ms, timing.speedup, timing.layers
        spread = f"{wall.p10:.2f} to {wall.p90:.2f}"
        kind = "float" if label == FLOAT else "int8"
        told = f"{label}: {wall.median:.2f} ms, {spread} ms ({DECILES})"
        found.append(
            LatencyRow(
                run.metrics.files.get(label, label),
                charts.whisker(wall.median, wall.p10, wall.p90, largest, kind, told),
                f"{wall.median:.2f}",
                spread,
                f"{times.median:.2f} {TIMES}",
                f"{layers.int8} of {layers.convolutions}" if layers else "not known",
                f"{timing.peak_rss_mib:.0f} MiB" if timing.peak_rss_mib else NOTHING,
            )
        )
    return found
