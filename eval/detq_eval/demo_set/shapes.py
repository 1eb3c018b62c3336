"""Outlines of the classes, and their masks at any size, angle and stretch, in whole numbers."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

NAMES = ("arrow", "crescent", "cross", "disc", "ring", "square", "star", "triangle")
UNIT = 1024  # radius of the circle that every outline fits in
TURN = 256  # steps of a full turn
FINE = 4  # points per pixel and direction that decide how much of it is covered
FULL = FINE * FINE  # coverage of a pixel that lies inside

# Whole numbers far from a tie between two: every libm gives the same.
SINE = [round(UNIT * math.sin(2 * math.pi * step / TURN)) for step in range(TURN)]

Points = NDArray[np.int64]


def mask_of(name: str, *, diameter: int, stretch: int, lean: int, turn: int) -> NDArray[np.uint8]:
    """How much of each pixel an object covers.

    Args:
        name: one of ``NAMES``.
        diameter: of the circle around the outline, pixels.
        stretch: height in hundredths of the width, before turning.
        lean: step to the right per step down, in hundredths, before turning.
        turn: in 256ths of a full turn.

    Returns:
        0 to ``FULL`` [side, side], where side is a little more than the diameter.
    """
    side = diameter + 2 + diameter * abs(lean) // 100
    sine, cosine = SINE[turn % TURN], SINE[(turn + TURN // 4) % TURN]
    centre, scale = side * FINE // 2, diameter * FINE
    contours = []
    for outline in OUTLINES[name]:
        x = outline[:, 0] + outline[:, 1] * lean // 100
        y = outline[:, 1] * stretch // 100
        turned = np.stack([x * cosine - y * sine, x * sine + y * cosine], 1)
        contours.append((centre + turned * scale // (2 * UNIT * UNIT)).astype(np.int32))
    fine = np.zeros((side * FINE, side * FINE), np.uint8)
    cv2.fillPoly(fine, contours, 1)
    rows = fine.reshape(side, FINE, side * FINE)
    across = (rows[:, 0] + rows[:, 1] + rows[:, 2] + rows[:, 3]).reshape(side, side, FINE)
    covered: NDArray[np.uint8] = across[..., 0] + across[..., 1] + across[..., 2] + across[..., 3]
    return covered


def _circle(radius: int, *, x: int = 0, first: int = 0, last: int = TURN) -> list[list[int]]:
    steps = range(first, last, 4)
    return [
        [x + radius * SINE[(s + TURN // 4) % TURN] // UNIT, radius * SINE[s % TURN] // UNIT]
        for s in steps
    ]


def _corners(count: int, *radii: int) -> list[list[int]]:
    """Corners at equal angles; radii in turn."""
    return [
        [
            radii[i % len(radii)] * SINE[i * TURN // count] // UNIT,
            -radii[i % len(radii)] * SINE[(i * TURN // count + TURN // 4) % TURN] // UNIT,
        ]
        for i in range(count)
    ]


def _crescent() -> list[list[int]]:
    """A circle less another of the same size, seen from both circles' crossings."""
    outer = _circle(UNIT, first=TURN // 8, last=TURN - TURN // 8)
    bite = _circle(880, x=500, first=TURN * 5 // 16, last=TURN * 11 // 16)
    return outer + bite[::-1]


def _outline(*contours: Sequence[Sequence[int]]) -> tuple[Points, ...]:
    return tuple(np.array(contour, np.int64) for contour in contours)


ARM, HALF = 970, 330  # of the cross, from the centre to an arm's end and side
SIDE = 724  # half a square's side
OUTLINES = {
    "arrow": _outline(
        [[0, -1024], [640, -300], [250, -300], [250, 960], [-250, 960], [-250, -300], [-640, -300]]
    ),
    "crescent": _outline(_crescent()),
    "cross": _outline(
        [
            [-HALF, -ARM], [HALF, -ARM], [HALF, -HALF], [ARM, -HALF], [ARM, HALF], [HALF, HALF],
            [HALF, ARM], [-HALF, ARM], [-HALF, HALF], [-ARM, HALF], [-ARM, -HALF], [-HALF, -HALF],
        ]
    ),
    "disc": _outline(_circle(UNIT)),
    "ring": _outline(_circle(UNIT), _circle(560)),
    "square": _outline([[-SIDE, -SIDE], [SIDE, -SIDE], [SIDE, SIDE], [-SIDE, SIDE]]),
    "star": _outline(_corners(10, 1024, 440)),
    "triangle": _outline(_corners(3, 1024)),
}  # fmt: skip
