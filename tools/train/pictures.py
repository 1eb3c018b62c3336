"""Samples from a COCO file: scaled, shifted, mirrored, recoloured, four to a picture at times."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from detq.data.images import ImageRef, read_image
from detq_eval.coco_truth import read_coco_truth
from tools.train.samples import Sample

GREY = 114
SCALES = (0.5, 1.5)  # of the long side against the sample's
MOSAIC = 0.5  # share of samples made of four images, as long as there are such
LEAST_LEFT = 0.3  # of a box' area inside the sample, or the box is left out
LEAST_SIDE = 3.0  # pixels
HUE, SATURATION, VALUE = 4, 0.6, 0.4  # largest changes: in 180ths of the circle, and as shares

Boxes = NDArray[np.float32]
Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Pictures:
    """Annotated images.

    Attributes:
        names: of the classes, in the order of the categories' ids.
        images: where they lie.
        boxes: left, top, right, bottom in pixels of each image, float32 [G, 4].
        classes: int64 [G] of each.
    """

    names: tuple[str, ...]
    images: tuple[ImageRef, ...]
    boxes: tuple[Boxes, ...]
    classes: tuple[NDArray[np.int64], ...]


def read_pictures(file: Path, folder: Path | None = None) -> Pictures:
    """Images and boxes of a COCO file; crowds are left out.

    Raises:
        DatasetError: it cannot be read, or contradicts itself.
    """
    found = read_coco_truth(file, folder)
    categories = sorted(found.categories, key=lambda category: category.id)
    truth = found.truth
    single = ~truth.crowd
    rows = [np.nonzero(single & (truth.image == n))[0] for n in range(len(found.images))]
    corners = np.concatenate([truth.boxes[:, :2], truth.boxes[:, :2] + truth.boxes[:, 2:]], 1)
    numbers = np.searchsorted([category.id for category in categories], truth.category)
    return Pictures(
        tuple(category.name for category in categories),
        found.images,
        tuple(corners[row].astype(np.float32) for row in rows),
        tuple(numbers[row].astype(np.int64) for row in rows),
    )


@dataclass(frozen=True)
class Changed:
    """Samples by number: every image once in an order of its own, then again in another.

    Attributes:
        pictures: the images.
        seed: of order and changes.
        size: side of a sample, pixels.
        mosaics: the first so many samples may be made of four images.
    """

    pictures: Pictures
    seed: int
    size: int
    mosaics: int

    def __call__(self, number: int) -> Sample:
        """The sample with this number; the same whenever it is asked for."""
        count = len(self.pictures.images)
        rng = np.random.default_rng([self.seed, number, 1])
        first = int(_order(self.seed, number // count, count)[number % count])
        if number < self.mosaics and rng.random() < MOSAIC:
            others = rng.integers(count, size=3).tolist()
            made = _mosaic(self.pictures, [first, *others], self.size, rng)
        else:
            made = _placed(self.pictures, first, self.size, self.size, self.size, rng)
        return _recoloured(_mirrored(made, rng), rng)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)


def _mosaic(pictures: Pictures, chosen: list[int], size: int, rng: Rng) -> Sample:
    """Four images that meet at a point."""
    x, y = (int(n) for n in rng.integers(size // 4, size * 3 // 4, 2))
    image = np.empty((size, size, 3), np.uint8)
    boxes, classes = [], []
    corners = [(0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)]
    for index, (left, top, right, bottom) in zip(chosen, corners, strict=True):
        part = _placed(pictures, index, bottom - top, right - left, size, rng)
        image[top:bottom, left:right] = part.image
        boxes.append(part.boxes + np.array([left, top, left, top], np.float32))
        classes.append(part.classes)
    return Sample(image, np.concatenate(boxes), np.concatenate(classes))


def _placed(pictures: Pictures, index: int, height: int, width: int, size: int, rng: Rng) -> Sample:
    """An image scaled and shifted at random on a grey ground [height, width]."""
    image = read_image(pictures.images[index].path)[..., ::-1]
    scale = rng.uniform(*SCALES) * size / max(image.shape[:2])
    room = np.array([width, height]) - scale * np.array([image.shape[1], image.shape[0]])
    shift = room * rng.random(2)
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    drawn = cv2.warpAffine(
        np.ascontiguousarray(image), matrix, (width, height), flags=way, borderValue=(GREY,) * 3
    )
    whole = pictures.boxes[index] * scale + np.tile(shift, 2)
    inside = np.clip(whole, 0, [width, height, width, height])
    sides = inside[:, 2:] - inside[:, :2]
    area = (whole[:, 2:] - whole[:, :2]).prod(1)
    kept = (sides.min(1) >= LEAST_SIDE) & (sides.prod(1) >= LEAST_LEFT * area)
    return Sample(
        drawn.astype(np.uint8),
        inside[kept].astype(np.float32),
        pictures.classes[index][kept],
    )


def _mirrored(sample: Sample, rng: Rng) -> Sample:
    if rng.random() < 0.5:
        return sample
    boxes = sample.boxes.copy()
    boxes[:, [0, 2]] = sample.image.shape[1] - sample.boxes[:, [2, 0]]
    return Sample(sample.image[:, ::-1], boxes, sample.classes)


def _recoloured(sample: Sample, rng: Rng) -> Sample:
    """Hue turned, saturation and value stretched."""
    colours = cv2.cvtColor(np.ascontiguousarray(sample.image), cv2.COLOR_RGB2HSV).astype(np.float32)
    colours[..., 0] = (colours[..., 0] + rng.uniform(-HUE, HUE)) % 180
    colours[..., 1:] *= 1 + rng.uniform(-1, 1, 2) * (SATURATION, VALUE)
    limited = colours.clip(0, (179, 255, 255)).astype(np.uint8)
    image = cv2.cvtColor(limited, cv2.COLOR_HSV2RGB).astype(np.uint8)
    return Sample(image, sample.boxes, sample.classes)
