"""Detections as the rows of a COCO result file."""

from collections.abc import Iterable
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from detq.data.images import ImageRef
from detq.detection import Detections
from detq_eval.classes import ClassMap

Doubles = NDArray[np.float64]


class CocoRow(TypedDict):
    """One detection; the box is left, top, width, height."""

    image_id: int | str
    category_id: int
    bbox: list[float]
    score: float


def detections_as_coco(
    found: Iterable[tuple[ImageRef, Detections]], classes: ClassMap
) -> list[CocoRow]:
    """Rows as the official tool writes them: pixels with 3 decimals, scores with 5."""
    return [
        CocoRow(image_id=ref.id, category_id=category, bbox=box, score=score)
        for ref, detections in found
        for category, box, score in zip(
            categories_of(detections, classes).tolist(),
            written_boxes(detections.boxes).tolist(),
            written_scores(detections.scores).tolist(),
            strict=True,
        )
    ]


def categories_of(detections: Detections, classes: ClassMap) -> NDArray[np.int64]:
    """Category id of each detection, int64 [n]."""
    return np.array(classes.category_ids, np.int64)[detections.classes]


def written_boxes(boxes: NDArray[np.float32]) -> Doubles:
    """Left, top, width, height, float64 [n, 4], as they stand in the file.

    By way of the centre in float32, as the official tool goes.

    Args:
        boxes: left, top, right, bottom, float32 [n, 4].
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    size = high - low
    return _written(np.concatenate(((low + high) / 2 - size / 2, size), axis=1), 3)


def written_scores(scores: NDArray[np.float32]) -> Doubles:
    """Scores, float64 [n], as they stand in the file."""
    return _written(scores, 5)


def _written(values: NDArray[np.float32], digits: int) -> Doubles:
    flat = [round(value, digits) for value in values.ravel().tolist()]
    return np.array(flat, np.float64).reshape(values.shape)
