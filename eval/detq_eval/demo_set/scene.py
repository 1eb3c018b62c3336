"""One picture of the demo set with the boxes in it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detq_eval.demo_set.draws import Draws
from detq_eval.demo_set.ground import Picture, draw_ground
from detq_eval.demo_set.shapes import FULL, NAMES, TURN, mask_of

SMALLEST, LARGEST = 44, 150  # diameter of objects, pixels
MOST = 7  # objects, unless told otherwise
VISIBLE = 70  # percent of an object that others and the edge leave to be seen
APART = 90  # least difference of an object's colour and the ground's, in one channel

_Place = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture and what is on it.

    Attributes:
        image: uint8 RGB [height, width, 3].
        boxes: left, top, right, bottom of what is to be seen of each object, int64 [n, 4].
        classes: number of its name in ``shapes.NAMES``, int64 [n].
        areas: pixels of it that are to be seen, int64 [n].
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.int64]
    classes: NDArray[np.int64]
    areas: NDArray[np.int64]


class _Canvas:
    """A picture, and for each pixel which object is in front: 0 for none."""

    def __init__(self, picture: Picture):
        self.picture = picture
        self.owner = np.zeros(picture.shape[:2], np.int64)
        self.whole = [0]  # pixels of each object, were nothing in front of it
        self.classes: list[int] = []

    def fits(self, mask: NDArray[np.uint8], inside: NDArray[np.uint8], place: _Place) -> bool:
        """Whether enough of this object and of those behind it would be seen."""
        solid = inside * 2 >= FULL
        if solid.sum() * 100 < VISIBLE * (mask * 2 >= FULL).sum():
            return False
        behind = np.bincount(self.owner[place][solid], minlength=len(self.whole))
        seen = np.bincount(self.owner.ravel(), minlength=len(self.whole)) - behind
        return all(seen[i] * 100 >= VISIBLE * self.whole[i] for i in range(1, len(self.whole)))

    def paint(self, colours: Picture, inside: NDArray[np.uint8], place: _Place) -> None:
        """Lay colours over the picture as far as the mask covers it."""
        weight = inside.astype(np.int64)[..., None]
        under = self.picture[place]
        self.picture[place] = (under * (FULL - weight) + colours * weight) // FULL


def draw_scene(
    seed: int, number: int, height: int = 320, width: int = 320, *, most: int = MOST
) -> Scene:
    """A picture with objects; the same arguments give the same bytes.

    Args:
        seed: of the set.
        number: of the picture in it.
        height: pixels.
        width: pixels.
        most: objects on it; those that find no room are left out.
    """
    draws = Draws(seed, number)
    canvas = _Canvas(draw_ground(draws, height, width))
    for _ in range(1 + draws.below(most)):
        _add_object(draws, canvas)
    image = _seen(draws, canvas.picture)
    return Scene(image, *_truth(canvas))


def _add_object(draws: Draws, canvas: _Canvas) -> None:
    label = draws.below(len(NAMES))
    diameter = draws.pick((draws.between(SMALLEST, 80), draws.between(SMALLEST, LARGEST)))
    mask = mask_of(
        NAMES[label],
        diameter=diameter,
        stretch=draws.between(70, 100),
        lean=draws.between(-20, 20),
        turn=draws.below(TURN),
    )
    height, width = canvas.owner.shape
    for _ in range(10):
        top = draws.between(-diameter // 5, height - mask.shape[0] + diameter // 5)
        left = draws.between(-diameter // 5, width - mask.shape[1] + diameter // 5)
        inside, place = _clipped(mask, top, left, height, width)
        if canvas.fits(mask, inside, place):
            break
    else:
        return
    if draws.chance(50):
        _cast_shadow(draws, canvas, mask, top, left)
    canvas.paint(_fill(draws, canvas, inside, place), inside, place)
    solid = inside * 2 >= FULL
    canvas.classes.append(label)
    canvas.whole.append(int((mask * 2 >= FULL).sum()))
    canvas.owner[place][solid] = len(canvas.classes)


def _clipped(
    mask: NDArray[np.uint8], top: int, left: int, height: int, width: int
) -> tuple[NDArray[np.uint8], _Place]:
    """The part of a mask inside the picture, and where that is."""
    rows = slice(max(top, 0), min(top + mask.shape[0], height))
    columns = slice(max(left, 0), min(left + mask.shape[1], width))
    part = mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return part, (rows, columns)


def _cast_shadow(
    draws: Draws, canvas: _Canvas, mask: NDArray[np.uint8], top: int, left: int
) -> None:
    height, width = canvas.owner.shape
    top, left = top + draws.between(2, 8), left + draws.between(-8, 8)
    inside, place = _clipped(mask, top, left, height, width)
    canvas.paint(canvas.picture[place] * draws.between(45, 75) // 100, inside, place)


def _fill(draws: Draws, canvas: _Canvas, inside: NDArray[np.uint8], place: _Place) -> Picture:
    """Plain, shaded, striped or speckled, in colours that stand out from what is behind."""
    behind = canvas.picture[place][inside > 0].sum(0) // max(int((inside > 0).sum()), 1)
    colour, other = draws.colour(), draws.colour()
    for _ in range(20):
        if abs(colour - behind).max() >= APART:
            break
        colour = draws.colour()
    rows, columns = inside.shape
    y, x = np.ogrid[:rows, :columns]
    style = draws.below(4)
    mix: NDArray[np.int64] = np.zeros((rows, columns), np.int64)
    if style == 1:
        mix = np.broadcast_to(y * 160 // rows, mix.shape)
    elif style == 2:
        mix = (x + draws.pick((-1, 0, 1)) * y) // draws.between(5, 14) % 2 * 110
    elif style == 3:
        mix = draws.octets(rows, columns).astype(np.int64) * draws.between(40, 120) // 255
    weight = mix[..., None]
    filled: Picture = (colour * (255 - weight) + other * weight) // 255
    return filled


def _seen(draws: Draws, picture: Picture) -> NDArray[np.uint8]:
    """What a camera makes of it: light from one side, blur, contrast, noise."""
    height, width = picture.shape[:2]
    y, x = np.ogrid[:height, :width]
    light = 256 + (draws.between(-90, 90) * y // height + draws.between(-90, 90) * x // width)
    picture = picture * light[..., None] * draws.between(70, 120) // 25600
    for _ in range(draws.pick((0, 0, 1, 2, 3))):
        picture = _blurred(picture)
    noise = draws.octets(2, height, width, 3).astype(np.int64).sum(0) - 255
    picture = picture + noise * draws.pick((2, 4, 8, 16)) // 256
    return np.clip(picture, 0, 255).astype(np.uint8)


def _blurred(picture: Picture) -> Picture:
    """Weights 1, 2, 1 in both directions."""
    wide = np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="edge")
    down = wide[:-2] + 2 * wide[1:-1] + wide[2:]
    both: Picture = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    return (both + 8) // 16


def _truth(
    canvas: _Canvas,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    boxes, areas = [], []
    for number in range(1, len(canvas.whole)):
        rows, columns = np.nonzero(canvas.owner == number)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        areas.append(len(rows))
    return (
        np.array(boxes, np.int64).reshape(-1, 4),
        np.array(canvas.classes, np.int64),
        np.array(areas, np.int64),
    )
