"""Charts as SVG: numbers in, markup out.

Where a chart is as wide as the page, places across are percentages and nothing is scaled: text
stays as large on a phone as on a desk. Colours come from classes in ``style.css``. All that is
told on hover stands in ``<title>``. Text from users is escaped by ``Markup``.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from detq_eval.report.text import number

PLOT_HEIGHT = 190  # pixels of a column chart, without its labels
_TOP = 8  # pixels above the highest tick


@dataclass(frozen=True, slots=True)
class Column:
    """One place in a column chart.

    Attributes:
        name: told on hover, first line.
        told: told on hover, after the name.
        bar: value of the bar from zero; None for none.
        dot: value of the dot; None for none.
        kind: class for the colour.
    """

    name: str
    told: str
    bar: float | None
    dot: float | None = None
    kind: str = "int8"


def percent(value: float) -> str:
    """``12.3456`` as ``12.35%``."""
    return f"{value:.2f}%".replace(".00%", "%")


def dumbbell(reference: float, other: float, largest: float, told: str) -> Markup:
    """Two values on a line from zero to ``largest``, joined where they differ.

    Args:
        reference: value of the float model; a ring.
        other: value of the INT8 model; a dot.
        largest: at the right end.
        told: on hover.
    """
    a, b = (percent(_share(value, largest)) for value in (reference, other))
    kind = "loss" if other < reference else "gain"
    return Markup(
        '<svg class="row" height="16" role="img"><title>{}</title>'
        '<line class="guide" x1="0" x2="100%" y1="8" y2="8"/>'
        '<line class="{}" x1="{}" x2="{}" y1="8" y2="8"/>'
        '<circle class="float" cx="{}" cy="8" r="4.5"/>'
        '<circle class="int8" cx="{}" cy="8" r="4.5"/></svg>'
    ).format(told, kind, a, b, a, b)


def whisker(median: float, low: float, high: float, largest: float, kind: str, told: str) -> Markup:
    """A bar to ``median`` with a line from ``low`` to ``high``.

    Args:
        median: length of the bar.
        low: left end of the line.
        high: right end of the line.
        largest: as long as the row is wide.
        kind: class for the colour.
        told: on hover.
    """
    middle, left, right = (percent(_share(value, largest)) for value in (median, low, high))
    return Markup(
        '<svg class="row" height="22" role="img"><title>{}</title>'
        '<rect class="{}" x="0" y="3" width="{}" height="16" rx="2"/>'
        '<line class="whisker" x1="{}" x2="{}" y1="11" y2="11"/>'
        '<line class="whisker" x1="{}" x2="{}" y1="7" y2="15"/>'
        '<line class="whisker" x1="{}" x2="{}" y1="7" y2="15"/></svg>'
    ).format(told, kind, middle, left, right, left, left, right, right)


def columns(
    items: Sequence[Column], top: float, ticks: Iterable[float], unit: str, parts: Sequence[str]
) -> Markup:
    """One column per layer, bars from zero and dots, with an axis and named parts below.

    Args:
        items: from left to right.
        top: value at the upper end.
        ticks: values that get a line and a number.
        unit: of the axis.
        parts: name of the part that each item belongs to; neighbours of one name are one part.
    """
    marks = [(height_of(tick, top), f"{tick:g}") for tick in ticks]
    lines = (
        Markup('<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(f"{y:.1f}")
        for y, _ in marks
    )
    axis = (
        Markup('<text class="tick" x="30" y="{}" text-anchor="end">{}</text>').format(
            f"{y + 4:.1f}", text
        )
        for y, text in marks
    )
    width = 100 / max(len(items), 1)
    body = (_column(item, index * width, width, top) for index, item in enumerate(items))
    height = PLOT_HEIGHT + _TOP + 26
    return Markup(
        '<div class="columns"><svg class="axis" width="36" height="{}">{}'
        '<text class="tick" x="30" y="{}" text-anchor="end">{}</text></svg>'
        '<svg class="plot" height="{}" role="img">{}{}{}</svg></div>'
    ).format(
        height, _join(axis), height - 6, unit, height, _join(lines), _join(body), _parts(parts)
    )


def height_of(value: float, top: float) -> float:
    """Pixels from the upper edge of a column chart at which ``value`` stands."""
    return _TOP + PLOT_HEIGHT * (1 - min(max(value / top, 0.0), 1.0))


def _column(item: Column, left: float, width: float, top: float) -> Markup:
    drawn = []
    middle = percent(left + width / 2)
    if item.bar is not None:
        y = height_of(item.bar, top)
        drawn.append(
            Markup('<rect class="bar {}" x="{}" width="{}" y="{}" height="{}"/>').format(
                item.kind,
                percent(left + width * 0.15),
                percent(width * 0.7),
                f"{y:.1f}",
                f"{_TOP + PLOT_HEIGHT - y:.1f}",
            )
        )
    if item.dot is not None:
        drawn.append(
            Markup('<circle class="dot {}" cx="{}" cy="{}" r="2.5"/>').format(
                item.kind, middle, f"{height_of(item.dot, top):.1f}"
            )
        )
    return Markup(
        '<g class="hit"><title>{}\n{}</title><rect class="area" x="{}" width="{}" y="0" '
        'height="{}"/>{}</g>'
    ).format(item.name, item.told, percent(left), percent(width), PLOT_HEIGHT + _TOP, _join(drawn))


def _parts(parts: Sequence[str]) -> Markup:
    """Names of the parts below their columns, with lines between them."""
    found = []
    width = 100 / max(len(parts), 1)
    start = 0
    for end in range(1, len(parts) + 1):
        if end < len(parts) and parts[end] == parts[start]:
            continue
        middle, edge = percent((start + end) / 2 * width), percent(end * width)
        if (end - start) * width > 8:  # else there is no room for a name
            found.append(
                Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                    middle, PLOT_HEIGHT + _TOP + 20, parts[start]
                )
            )
        if end < len(parts):
            found.append(
                Markup('<line class="edge" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(
                    edge, _TOP, PLOT_HEIGHT + _TOP + 24
                )
            )
        start = end
    return _join(found)


def histogram(
    edges: Sequence[float], counts: Sequence[int], lowest: float, highest: float, told: str
) -> Markup:
    """Counts on a logarithmic scale over values, with the chosen range shaded.

    Args:
        edges: one more than counts, rising.
        counts: values seen in each bin.
        lowest: of the chosen range.
        highest: of the chosen range.
        told: on hover.
    """
    width, height, base = 300.0, 92.0, 96.0
    start, end = min(edges[0], lowest), max(edges[-1], highest)
    span = (end - start) or 1.0
    tallest = math.log1p(max([*counts, 1]))

    def x(value: float) -> float:
        return (value - start) / span * width

    bars = _join(
        Markup('<rect class="bar" x="{}" width="{}" y="{}" height="{}"/>').format(
            f"{x(left):.1f}",
            f"{max(x(right) - x(left), 0.5):.1f}",
            f"{base - height * math.log1p(count) / tallest:.1f}",
            f"{height * math.log1p(count) / tallest:.1f}",
        )
        for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True)
        if count
    )
    left, right = x(lowest), x(highest)
    label = '<text class="tick" x="{}" y="112" text-anchor="{}">{}</text>'
    return Markup(
        '<svg class="histogram" viewBox="-2 0 304 116" role="img"><title>{}</title>'
        '<rect class="range" x="{}" width="{}" y="0" height="96"/>{}'
        '<line class="end" x1="{}" x2="{}" y1="0" y2="100"/>'
        '<line class="end" x1="{}" x2="{}" y1="0" y2="100"/>{}{}</svg>'
    ).format(
        told,
        f"{left:.1f}",
        f"{right - left:.1f}",
        bars,
        *(f"{place:.1f}" for place in (left, left, right, right)),
        Markup(label).format(f"{left:.1f}", _anchor(left / width), number(lowest)),
        Markup(label).format(f"{right:.1f}", _anchor(right / width), number(highest)),
    )


def _anchor(share: float) -> str:
    """So that a number stays inside the picture."""
    return "start" if share < 0.1 else "end" if share > 0.9 else "middle"


def _share(value: float, largest: float) -> float:
    return 100 * min(max(value / largest, 0.0), 1.0) if largest > 0 else 0.0


def _join(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)
