"""Ground truth from a ``data.yaml`` and one label file per image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detq.data.images import list_images
from detq.data.yolo_yaml import read_data_yaml
from detq.errors import DatasetError
from detq_eval.image_size import image_size
from detq_eval.truth import Annotated, Category, Truth

_SLACK = 1e-3  # label files hold four to six digits

Floats = NDArray[np.float64]


def read_yolo_truth(file: Path, names: Sequence[str]) -> Annotated:
    """The ``val`` split as COCO sees it: boxes in pixels, area that of the box, no crowds.

    Args:
        file: the ``data.yaml``.
        names: the model's, used where the file gives none.

    Raises:
        DatasetError: the file or a label file cannot be read.
    """
    images = list_images(file, split="val")
    given = read_data_yaml(file).names or tuple(names)
    categories = tuple(Category(index, name) for index, name in enumerate(given))
    parts = [_labels(ref.path, len(given)) for ref in images]
    rows = np.concatenate([np.empty((0, 5)), *parts])
    boxes = rows[:, 1:]
    truth = Truth(
        np.repeat(np.arange(len(images)), [len(part) for part in parts]),
        rows[:, 0].astype(np.int64),
        boxes,
        boxes[:, 2] * boxes[:, 3],
        np.zeros(len(rows), np.bool_),
    )
    return Annotated(images, categories, truth)


def label_path(image: Path) -> Path:
    """``labels/…/x.txt`` for ``images/…/x.jpg`` (the last such folder), else beside it."""
    parts = list(image.parts)
    for at in range(len(parts) - 2, -1, -1):
        if parts[at] == "images":
            parts[at] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _labels(image: Path, classes: int) -> Floats:
    """[n, 5]: class, left, top, width, height in pixels; none without a label file."""
    file = label_path(image)
    try:
        lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return np.empty((0, 5))
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            "is not a readable label file", where=str(file), hint="one box a line, in UTF-8"
        ) from error
    rows = [
        _row(words, f"{file}:{number}", classes) for number, words in enumerate(lines, 1) if words
    ]
    if not rows:
        return np.empty((0, 5))
    height, width = image_size(image)
    return np.array(rows) * (1, width, height, width, height)


def _row(words: Sequence[str], where: str, classes: int) -> tuple[float, ...]:
    """Class and left, top, width, height as parts of the image's sides."""
    try:
        label, *values = map(float, words)
    except ValueError:
        label, values = -1.0, []
    if len(values) < 4 or len(values) % 2 or not label.is_integer():
        raise DatasetError(
            f"is not a label: {' '.join(words)[:60]}",
            where=where,
            hint="expected are class, centre x, centre y, width, height",
        )
    if not 0 <= label < classes:
        raise DatasetError(
            f"has class {int(label)} of {classes}",
            where=where,
            hint="classes count from 0; correct the label, or the names in the data.yaml",
        )
    if not all(-_SLACK <= value <= 1 + _SLACK for value in values):
        raise DatasetError("is outside of 0...1", where=where, hint="divide by the image's sides")
    if len(values) > 4:  # an outline; its box counts
        left, right = min(values[::2]), max(values[::2])
        top, bottom = min(values[1::2]), max(values[1::2])
        return label, left, top, right - left, bottom - top
    x, y, width, height = values
    return label, x - width / 2, y - height / 2, width, height
