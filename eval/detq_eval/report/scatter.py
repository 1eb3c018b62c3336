"""Points on two axes as SVG; places across are percentages, so that text is never scaled."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from detq_eval.report.charts import PLOT_HEIGHT, height_of, percent


@dataclass(frozen=True, slots=True)
class Point:
    """One point.

    Attributes:
        x: across.
        y: up.
        told: on hover.
        kind: class for the colour: ``int8`` on the front, ``float`` off it.
    """

    x: float
    y: float
    told: str
    kind: str = "int8"


def scatter(points: Sequence[Point], x_unit: str, y_unit: str) -> Markup:
    """Points between zero and the largest of each axis.

    Args:
        points: any number; what lies below zero is drawn at zero.
        x_unit: below the right end.
        y_unit: beside the lower end.
    """
    right = 1.1 * max([1e-6, *(point.x for point in points)])
    top = 1.1 * max([1e-6, *(point.y for point in points)])
    height = PLOT_HEIGHT + 34
    marks = [top * share for share in (0, 1 / 3, 2 / 3, 1)]
    rows = _join(
        Markup('<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(
            f"{height_of(mark, top):.1f}"
        )
        for mark in marks
    )
    axis = _join(
        Markup('<text class="tick" x="30" y="{}" text-anchor="end">{}</text>').format(
            f"{height_of(mark, top) + 4:.1f}", f"{mark:.2g}"
        )
        for mark in marks
    )
    below = _join(
        Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            percent(100 * share), height - 10, f"{right * share:.3g}"
        )
        for share in (0.25, 0.5, 0.75)
    )
    drawn = _join(
        Markup(
            '<g class="hit"><title>{}</title><circle class="{}" cx="{}" cy="{}" r="5"/></g>'
        ).format(
            point.told,
            point.kind,
            percent(100 * min(max(point.x / right, 0.0), 1.0)),
            f"{height_of(point.y, top):.1f}",
        )
        for point in points
    )
    return Markup(
        '<div class="columns"><svg class="axis" width="36" height="{0}">{1}'
        '<text class="tick" x="30" y="{2}" text-anchor="end">{3}</text></svg>'
        '<svg class="plot" height="{0}" role="img">{4}{5}{6}'
        '<text class="tick" x="100%" y="{2}" text-anchor="end">{7}</text></svg></div>'
    ).format(height, axis, height - 10, y_unit, rows, below, drawn, x_unit)


def _join(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)
