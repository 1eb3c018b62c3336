"""True boxes, held as arrays: a COCO file as dictionaries takes twenty times the room."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detq.data.images import ImageRef


@dataclass(frozen=True, slots=True)
class Category:
    """A class as the annotations call it."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Truth:
    """The true boxes of all images.

    Attributes:
        image: int64 [n], index into the images.
        category: int64 [n], ids of the annotation file.
        boxes: float64 [n, 4], left, top, width, height in pixels of the original image.
        areas: float64 [n], pixels of the object (its mask where the file has one).
        crowd: bool [n], regions in which detections are not counted.
    """

    image: NDArray[np.int64]
    category: NDArray[np.int64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True, slots=True)
class Annotated:
    """What an annotation file says, whatever its kind."""

    images: tuple[ImageRef, ...]
    categories: tuple[Category, ...]
    truth: Truth
