"""Boxes on a picture, for eyes."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from detq.detection import Detections

Pixels = NDArray[np.uint8]
_GOLDEN = 0.618033988749895  # of the circle: neighbouring classes get colours far apart


def draw_boxes(image: Pixels, found: Detections, names: Sequence[str]) -> Pixels:
    """A copy of ``image`` (BGR) with labelled boxes, the best on top."""
    canvas = image.copy()
    thick = max(round(sum(image.shape[:2]) / 600), 1)
    for box, score, label in reversed(
        list(zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True))
    ):
        left, top, right, bottom = (int(x) for x in box)
        colour = class_colour(label)
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, thick)
        _write(canvas, f"{names[label]} {score:.2f}", (left, top), colour, thick)
    return canvas


def class_colour(label: int) -> tuple[int, int, int]:
    """A strong BGR colour, always the same for a class."""
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN % 1, 0.85, 0.95)
    return int(blue * 255), int(green * 255), int(red * 255)


def _write(
    canvas: Pixels, text: str, corner: tuple[int, int], colour: tuple[int, int, int], thick: int
) -> None:
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.4 * thick
    (width, height), base = cv2.getTextSize(text, font, scale, thick)
    left = max(min(corner[0], canvas.shape[1] - width), 0)
    bottom = max(corner[1], height + base)  # inside the picture, also at its upper rim
    upper = (left, bottom - height - base)
    cv2.rectangle(canvas, upper, (left + width, bottom), colour, cv2.FILLED)
    dark = sum(colour) < 380
    ink = (255, 255, 255) if dark else (0, 0, 0)
    cv2.putText(canvas, text, (left, bottom - base // 2), font, scale, ink, thick, cv2.LINE_AA)
