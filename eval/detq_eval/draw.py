"""Boxes on a picture, for eyes."""

import colorsys
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from detq.detection import Detections

Pixels = NDArray[np.uint8]
_GOLDEN = 0.618033988749895  # of the circle: neighbouring classes get colours far apart
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PADDING = 3  # pixels around the text of a label

Rectangle = tuple[int, int, int, int]  # left, top, right, bottom


def draw_boxes(image: Pixels, found: Detections, names: Sequence[str]) -> Pixels:
    """A copy of ``image`` (BGR) with labelled boxes, the best on top.

    Lines and letters grow more slowly than the picture. A label that would cover that of a better
    box moves to the inside of its box, or below it, if there is room.
    """
    canvas = image.copy()
    around = sum(image.shape[:2])
    thick, scale = max(round(around / 900), 1), max(0.36, around / 4000)
    boxes = [tuple(int(x) for x in box) for box in found.boxes.tolist()]
    labels = [
        f"{names[label]} {score:.2f}"
        for label, score in zip(found.classes.tolist(), found.scores.tolist(), strict=True)
    ]
    colours = [class_colour(label) for label in found.classes.tolist()]
    for (left, top, right, bottom), colour in reversed(list(zip(boxes, colours, strict=True))):
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, thick)
    places: list[Rectangle] = []
    for box, text in zip(boxes, labels, strict=True):
        (width, height), base = cv2.getTextSize(text, _FONT, scale, 1)
        size = width + 2 * _PADDING, height + base + _PADDING
        places.append(_place(box, size, canvas.shape[:2], places))
    # After all lines, so that none runs through a word.
    for place, text, colour in reversed(list(zip(places, labels, colours, strict=True))):
        _write(canvas, text, place, colour, scale)
    return canvas


def class_colour(label: int) -> tuple[int, int, int]:
    """A strong BGR colour, always the same for a class."""
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN % 1, 0.85, 0.95)
    return int(blue * 255), int(green * 255), int(red * 255)


def _place(
    box: tuple[int, ...], size: tuple[int, int], picture: tuple[int, ...], taken: list[Rectangle]
) -> Rectangle:
    """Where a label goes: above its box, at the top inside, or below, where it covers none."""
    places = list(_places(box, size, picture))
    free = (p for p in places if not any(_overlap(p, other) for other in taken))
    return next(free, places[0])


def _places(
    box: tuple[int, ...], size: tuple[int, int], picture: tuple[int, ...]
) -> Iterator[Rectangle]:
    left, top, _, bottom = box
    width, height = size
    start = max(min(left, picture[1] - width), 0)
    for upper in (top - height, top, bottom):
        inside = max(min(upper, picture[0] - height), 0)
        yield start, inside, start + width, inside + height


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _write(
    canvas: Pixels, text: str, place: Rectangle, colour: tuple[int, int, int], scale: float
) -> None:
    left, top, right, bottom = place
    (_, _), base = cv2.getTextSize(text, _FONT, scale, 1)
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, cv2.FILLED)
    blue, green, red = colour
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 128  # as an eye weighs them
    ink = (0, 0, 0) if bright else (255, 255, 255)
    corner = (left + _PADDING, bottom - base)
    cv2.putText(canvas, text, corner, _FONT, scale, ink, 1, cv2.LINE_AA)
