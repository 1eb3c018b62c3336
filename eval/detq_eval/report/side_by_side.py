"""Several runs as one table: figures, and the choices in which their recipes differ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from detq_eval.report.records import FLOAT, RunRecords
from detq_eval.report.text import NOTHING, TIMES, megabytes, points, signed
from detq_eval.report.verdict import subject_timing


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table.

    Attributes:
        names: of the runs, the heads of the columns.
        rows: title and one cell per run.
        choices: key of the recipe and one cell per run, where they differ.
        warnings: name of a run and its warnings.
    """

    names: list[str]
    rows: list[tuple[str, list[str]]]
    choices: list[tuple[str, list[str]]]
    warnings: list[tuple[str, Sequence[str]]]


def compared(runs: Sequence[RunRecords]) -> Comparison:
    """Put runs side by side."""
    cells = [dict(_figures(run)) for run in runs]
    titles = dict.fromkeys(title for found in cells for title in found)
    recipes = [dict(_flat(run.manifest.recipe)) for run in runs]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    choices = [(key, [recipe.get(key, NOTHING) for recipe in recipes]) for key in keys]
    return Comparison(
        names=[run.name for run in runs],
        rows=[(title, [found.get(title, NOTHING) for found in cells]) for title in titles],
        choices=[(key, found) for key, found in choices if len(set(found)) > 1],
        warnings=[(run.name, run.metrics.warnings) for run in runs if run.metrics.warnings],
    )


def _figures(run: RunRecords) -> Iterator[tuple[str, str]]:
    label = run.metrics.subject.label
    before, after, timing = run.score(FLOAT), run.score(label), subject_timing(run)
    yield "network", f"{run.detector.family}, {TIMES.join(map(str, run.detector.size))}"
    if before is not None and after is not None:
        yield "engine", f"{after.engine}, {after.isa}"
        yield "images", str(after.images)
        yield "AP, float", points(before.ap)
        yield "AP, INT8", points(after.ap)
        yield "change", signed(100 * (after.ap - before.ap))
        for size in ("small", "medium", "large"):
            pair = (getattr(score, f"ap_{size}") for score in (before, after))
            yield f"AP {size}, float → INT8", " → ".join(map(points, pair))
        if after.agreement is not None:
            yield "agreement with float, AP", points(after.agreement.ap)
    if timing is not None:
        low, high = timing.speedup.p10, timing.speedup.p90
        yield "ms per image, INT8", f"{timing.wall_ms.median:.2f}"
        yield "times as fast as float", f"{timing.speedup.median:.2f} ({low:.2f} to {high:.2f})"
    if label in run.sizes:
        yield "INT8 file", megabytes(run.sizes[label])
    if counts := run.metrics.layers.get(label):
        yield "INT8 layers", f"{counts['int8']} of {counts['all']}"


def _flat(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, found in value.items():
        name = f"{before}{key}"
        if isinstance(found, Mapping) and found:
            yield from _flat(found, f"{name}.")
        else:
            yield name, found if isinstance(found, str) else msgspec.json.encode(found).decode()
