"""Non-maximum suppression by the official rules, exact in float32."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detq.detection import Detections

MOST_CANDIDATES = 30_000
CLASS_OFFSET = 4096  # pixels between the planes of two classes
BLOCK = 96  # candidates compared at once; their matrices stay in the cache

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]
Marks = NDArray[np.bool_]


def non_max_suppression(
    rows: Floats,
    *,
    confidence: float,
    iou: float,
    max_detections: int,
    multi_label: bool = True,
    agnostic: bool = False,
    classes: Sequence[int] | None = None,
) -> Detections:
    """The boxes that are left of one image, best first, in pixels of the network's input.

    A candidate is a box and a class whose objectness, class score and product of both are
    above ``confidence``. In the order of their scores (ties as they come), a candidate is
    dropped if its intersection over union with a kept one of its class is above ``iou``.
    Boxes are moved by 4096 pixels per class before they are compared, in float32, as the
    official evaluation does it: this decides about some close calls of high classes.

    Args:
        rows: float32 [L, 5 + nc]: centre x, centre y, width, height, objectness and
            scores within 0…1, as ``Detector`` describes.
        confidence: lowest score, exclusive.
        iou: largest overlap that is kept, inclusive.
        max_detections: the search ends when so many are kept.
        multi_label: a box may carry several classes, else only its best (the first of equals).
        agnostic: boxes of different classes suppress each other too.
        classes: the only classes to look at; all if None.
    """
    row, label = _candidates(rows, np.float32(confidence), multi_label)
    if classes is not None:
        wanted = np.isin(label, np.asarray(classes))
        row, label = row[wanted], label[wanted]
    scores = rows[row, 5 + label] * rows[row, 4]
    order = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    row, label, scores = row[order], label[order], scores[order]
    sides = _sides(rows[row, :4])
    apart = sides if agnostic else sides + (label * CLASS_OFFSET).astype(np.float32)
    kept = _suppress(apart, _largest_float32(iou), max_detections)
    boxes = np.ascontiguousarray(sides[:, kept].T)
    return Detections(boxes, scores[kept], label[kept].astype(np.int64))


def _candidates(rows: Floats, confidence: np.float32, multi_label: bool) -> tuple[Indices, Indices]:
    """Row and class of every candidate, row by row."""
    # One comparison of the whole contiguous array is twice as fast as one of the columns.
    above = rows > confidence
    above[:, :5] = False
    row, column = np.divmod(np.flatnonzero(above), rows.shape[1])
    sure = (rows[row, 4] > confidence) & (rows[row, column] * rows[row, 4] > confidence)
    row, label = row[sure], column[sure] - 5
    if multi_label:
        return row, label
    row = np.unique(row)
    return row, (rows[row, 5:] * rows[row, 4:5]).argmax(axis=1)


def _sides(boxes: Floats) -> Floats:
    """Left, top, right, bottom [4, n] of centre x, centre y, width, height [n, 4]."""
    boxes = np.ascontiguousarray(boxes.T)  # long rows: four times as fast as short columns
    half = boxes[2:] / 2
    return np.concatenate((boxes[:2] - half, boxes[:2] + half))


def _largest_float32(threshold: float) -> np.float32:
    """``x > threshold`` in float64 is ``x > result`` for every float32 x."""
    nearest = np.float32(threshold)
    return np.nextafter(nearest, np.float32(-np.inf)) if float(nearest) > threshold else nearest


def _suppress(apart: Floats, iou: np.float32, most: int) -> Indices:
    """Which of the boxes [4, n], in the order of their scores, are kept.

    Block by block: first against what is kept already, then against each other. What comes
    after the last one needed is never looked at.
    """
    left, top, right, bottom = apart
    sides = np.concatenate((apart, [(right - left) * (bottom - top)]))
    kept = np.empty((5, most + BLOCK), np.float32)
    found: list[Indices] = []
    count = 0
    with np.errstate(invalid="ignore", divide="ignore"):  # two empty boxes: 0 / 0
        for start in range(0, sides.shape[1], BLOCK):
            block = sides[:, start : start + BLOCK]
            free = np.flatnonzero(~_overlap(kept[:, :count], block, iou).any(axis=0))
            free = free[_independent(block[:, free], iou)]
            kept[:, count : count + len(free)] = block[:, free]
            count += len(free)
            found.append(free + start)
            if count >= most:
                break
    return np.concatenate([np.empty(0, np.intp), *found])[:most]


def _independent(block: Floats, iou: np.float32) -> Indices:
    """Which of a block stay when each suppresses those after it."""
    count = block.shape[1]
    better, worse = np.divmod(np.flatnonzero(_overlap(block, block, iou)), max(count, 1))
    ahead = better < worse
    alive = [True] * count
    for i, j in zip(better[ahead].tolist(), worse[ahead].tolist(), strict=True):
        if alive[i]:
            alive[j] = False
    return np.flatnonzero(alive)


def _overlap(a: Floats, b: Floats, iou: np.float32) -> Marks:
    """[n, m]: intersection over union of sides [5, n] and [5, m] is above ``iou``."""
    left, top, right, bottom, area = a[:, :, None]
    zero = np.float32(0)
    inter = np.minimum(right, b[2])
    inter -= np.maximum(left, b[0])
    np.maximum(inter, zero, out=inter)
    high = np.minimum(bottom, b[3])
    high -= np.maximum(top, b[1])
    np.maximum(high, zero, out=high)
    inter *= high
    union = np.add(area, b[4], out=high)
    union -= inter
    inter /= union
    above: Marks = inter > iou
    return above
