"""Boxes over a picture, as SVG in pixels of the original image."""

from collections.abc import Sequence

from markupsafe import Markup

from detq_eval.report.gallery import Box, Picture

_CROWDED = 6  # boxes from which only those are named that one model alone has


def overlay(picture: Picture, boxes: Sequence[Box]) -> Markup:
    """The boxes of one model; those that the other does not have stand out.

    Lines keep their width however large the picture is shown; ``data-class`` is for the filter.
    """
    size = max(picture.width, picture.height) * 0.032
    crowded = len(boxes) > _CROWDED
    # The best on top of the others, and those that stand out on top of all.
    order = sorted(boxes, key=lambda box: (box.alone, box.score))
    drawn = (_box(box, picture, size, box.alone or not crowded) for box in order)
    return Markup('<svg class="boxes" viewBox="0 0 {} {}" font-size="{}">{}</svg>').format(
        picture.width, picture.height, f"{size:.1f}", Markup("").join(drawn)
    )


def _box(box: Box, picture: Picture, size: float, named: bool) -> Markup:
    left, top, right, bottom = box.box
    text = f"{box.name} {box.score:.2f}"
    label = Markup("")
    if named:
        above = top if top > size * 1.2 else min(top + size * 1.2, picture.height)
        width = len(text) * size * 0.56 + size * 0.4
        start = max(min(left, picture.width - width), 0)
        label = Markup(
            '<rect class="plate" x="{}" y="{}" width="{}" height="{}"/>'
            '<text x="{}" y="{}">{}</text>'
        ).format(
            f"{start:.1f}",
            f"{above - size * 1.2:.1f}",
            f"{width:.1f}",
            f"{size * 1.2:.1f}",
            f"{start + size * 0.2:.1f}",
            f"{above - size * 0.3:.1f}",
            text,
        )
    return Markup(
        '<g class="{}" data-class="{}"><title>{}</title>'
        '<rect class="box" x="{}" y="{}" width="{}" height="{}"/>{}</g>'
    ).format(
        "alone" if box.alone else "both",
        box.name,
        text,
        *(f"{value:.1f}" for value in (left, top, max(right - left, 0), max(bottom - top, 0))),
        label,
    )
