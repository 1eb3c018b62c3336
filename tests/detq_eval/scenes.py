"""Black images with white boxes, and an engine that finds them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detq.data.images import ImageRef
from detq.detection import Detector, Preprocessing

NAMES = ("dark", "bright")
Box = tuple[int, int, int, int]  # left, top, width, height


def write_scene(path: Path, size: tuple[int, int], box: Box, value: int = 255) -> ImageRef:
    image = np.zeros((*size, 3), np.uint8)
    left, top, width, height = box
    image[top : top + height, left : left + width] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return ImageRef(path.name, path)


def write_scenes(folder: Path, count: int) -> tuple[list[ImageRef], list[Box]]:
    """Images of many shapes; the box of the n-th is class n % 2."""
    rng = np.random.default_rng(count)
    refs, boxes = [], []
    for number in range(count):
        height, width = (int(side) for side in rng.integers(60, 200, 2))
        w, h = int(rng.integers(20, width - 10)), int(rng.integers(20, height - 10))
        box = (int(rng.integers(0, width - w)), int(rng.integers(0, height - h)), w, h)
        value = 255 if number % 2 else 180
        refs.append(write_scene(folder / f"{number:03}.png", (height, width), box, value))
        boxes.append(box)
    return refs, boxes


def write_coco(file: Path, refs: Sequence[ImageRef], boxes: Sequence[Box]) -> Path:
    content = {
        "images": [{"id": n + 1, "file_name": ref.path.name} for n, ref in enumerate(refs)],
        "annotations": [
            {"id": n + 1, "image_id": n + 1, "category_id": 10 + n % 2, "bbox": box,
             "area": box[2] * box[3], "iscrowd": 0}
            for n, box in enumerate(boxes)
        ],
        "categories": [{"id": 11, "name": "Bright"}, {"id": 10, "name": "Dark"}],
    }  # fmt: skip
    file.write_text(json.dumps(content))
    return file


class BoxFinder:
    """An engine whose rows are the bounds of what is brighter than the grey border."""

    def __init__(self, size: tuple[int, int] = (96, 128), batch: int | None = None) -> None:
        self.name = "box finder"
        self.batch = batch
        self.calls: list[int] = []
        self.detector = Detector(
            family="none", names=NAMES, strides=(8,), size=size, preprocessing=Preprocessing()
        )

    def __call__(self, images: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
        self.calls.append(len(images))
        return {"outputs": np.stack([self.rows_of(image) for image in images])}

    def rows_of(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = np.zeros((20, 5 + len(NAMES)), np.float32)
        bright = np.argwhere(image[0] > 0.6)
        if len(bright):
            (top, left), (bottom, right) = bright.min(axis=0), bright.max(axis=0) + 1
            rows[3, :4] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
            rows[3, 4] = 1
            rows[3, 5 + int(image.max() > 0.9)] = 0.8
        return rows

    def __enter__(self) -> "BoxFinder":
        return self

    def __exit__(self, *error: object) -> None:
        pass
