"""Grey pictures with red, green and blue rectangles, and the truth about them on disk."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

NAMES = ("red", "green", "blue")
SIZE = (64, 96)

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int, int]  # left, top, right, bottom, class


@dataclass(frozen=True)
class TinyDataset:
    """Where things are: 8 pictures to score on, 8 others to calibrate with."""

    folder: Path

    @property
    def coco(self) -> Path:
        return self.folder / "val.json"

    @property
    def yolo(self) -> Path:
        return self.folder / "data.yaml"

    @property
    def train(self) -> Path:
        return self.folder / "images" / "train"

    @property
    def val(self) -> Path:
        return self.folder / "images" / "val"


def tiny_dataset(folder: Path, count: int = 8) -> TinyDataset:
    """Write ``count`` pictures for each split, COCO JSON for val, data.yaml for both."""
    data = TinyDataset(folder)
    rng = np.random.default_rng(0)
    for split in (data.train, data.val):
        labels = folder / "labels" / split.name
        split.mkdir(parents=True)
        labels.mkdir(parents=True)
        scenes = [
            draw_scene(rng, *rng.integers((64, 96), (97, 145)).tolist()) for _ in range(count)
        ]
        for number, (image, boxes) in enumerate(scenes):
            assert cv2.imwrite(str(split / f"{number:03}.jpg"), image[..., ::-1])
            text = "".join(_label(box, *image.shape[:2]) for box in boxes)
            (labels / f"{number:03}.txt").write_text(text)
    data.coco.write_text(json.dumps(_coco(scenes)))
    splits = {"path": str(folder), "train": "images/train", "val": "images/val"}
    data.yolo.write_text(yaml.safe_dump({**splits, "names": list(NAMES)}))
    return data


def fewer_boxes(data: TinyDataset) -> None:
    """Leave two boxes in the COCO file."""
    found = json.loads(data.coco.read_text())
    data.coco.write_text(json.dumps({**found, "annotations": found["annotations"][:2]}))


def fewer_lines(data: TinyDataset) -> None:
    """Leave no box to the first picture of the YOLO labels."""
    (data.folder / "labels/val/000.txt").write_text("")


def another_first(folder: Path) -> None:
    """Put the second picture of a folder in the place of its first."""
    (folder / "000.jpg").write_bytes((folder / "001.jpg").read_bytes())


def draw_scene(rng: np.random.Generator, height: int, width: int) -> tuple[Pixels, list[Box]]:
    """RGB picture with one to three rectangles that do not touch."""
    image = rng.normal(100, 12, (height, width, 3))
    boxes: list[Box] = []
    for _ in range(rng.integers(1, 4)):
        w, h = (int(share * height) for share in rng.uniform(0.3, 0.7, 2))
        left, top = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
        box = (left, top, left + w, top + h, int(rng.integers(3)))
        if any(_touch(box, other) for other in boxes):
            continue
        colour = rng.uniform(0, 50, 3)
        colour[box[4]] = rng.uniform(200, 255)
        image[top : top + h, left : left + w] = colour + rng.normal(0, 8, (h, w, 3))
        boxes.append(box)
    return image.clip(0, 255).astype(np.uint8), boxes


def _touch(a: Box, b: Box) -> bool:
    gap = 4
    across = a[0] < b[2] + gap and b[0] < a[2] + gap
    return across and a[1] < b[3] + gap and b[1] < a[3] + gap


def _label(box: Box, height: int, width: int) -> str:
    left, top, right, bottom, kind = box
    x, y = (left + right) / 2 / width, (top + bottom) / 2 / height
    return f"{kind} {x:.6f} {y:.6f} {(right - left) / width:.6f} {(bottom - top) / height:.6f}\n"


def _coco(scenes: list[tuple[Pixels, list[Box]]]) -> dict[str, object]:
    flat = [(image, box) for image, (_, boxes) in enumerate(scenes) for box in boxes]
    return {
        "images": [
            {"id": n, "file_name": f"{n:03}.jpg", "height": i.shape[0], "width": i.shape[1]}
            for n, (i, _) in enumerate(scenes)
        ],
        "annotations": [
            {"id": n + 1, "image_id": image, "category_id": box[4] + 1, "iscrowd": 0,
             "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
             "area": (box[2] - box[0]) * (box[3] - box[1])}
            for n, (image, box) in enumerate(flat)
        ],
        "categories": [{"id": n + 1, "name": name} for n, name in enumerate(NAMES)],
    }  # fmt: skip
