"""Non-maximum suppression by the official rules, exact in float32."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detq.detection import Detections

MOST_CANDIDATES = 30_000
CLASS_OFFSET = 4096  # pixels between the planes of two classes
BLOCK = 128  # candidates compared at once; their matrices stay in the L2 cache

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
    boxes = _corners(rows[row, :4])
    apart = boxes if agnostic else boxes + (label * CLASS_OFFSET).astype(np.float32)[:, None]
    kept = _suppress(apart, _largest_float32(iou), max_detections)
    return Detections(boxes[kept], scores[kept], label[kept].astype(np.int64))


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


def _corners(boxes: Floats) -> Floats:
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate((centre - half, centre + half), axis=1)


def _largest_float32(threshold: float) -> np.float32:
    """``x > threshold`` in float64 is ``x > result`` for every float32 x."""
    nearest = np.float32(threshold)
    return np.nextafter(nearest, np.float32(-np.inf)) if float(nearest) > threshold else nearest


def _suppress(boxes: Floats, iou: np.float32, most: int) -> Indices:
    """Indices of the boxes kept, out of boxes in the order of their scores.

    Block by block: first against what is kept already, then against each other. What comes
    after the last one needed is never looked at.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: Indices = np.empty(0, np.intp)
    for start in range(0, len(boxes), BLOCK):
        block: Indices = np.arange(start, min(start + BLOCK, len(boxes)))
        if len(kept):
            block = block[~_overlap(boxes, areas, kept, block, iou).any(axis=0)]
        kept = np.concatenate((kept, block[_independent(boxes, areas, block, iou)]))
        if len(kept) >= most:
            break
    return kept[:most]


def _independent(boxes: Floats, areas: Floats, block: Indices, iou: np.float32) -> Marks:
    alive = [True] * len(block)
    pairs = np.argwhere(_overlap(boxes, areas, block, block, iou))
    for better, worse in pairs[pairs[:, 0] < pairs[:, 1]].tolist():
        if alive[better]:
            alive[worse] = False
    return np.array(alive, bool)


def _overlap(boxes: Floats, areas: Floats, a: Indices, b: Indices, iou: np.float32) -> Marks:
    """[len(a), len(b)]: intersection over union is above ``iou``; two empty boxes never are."""
    left, top, right, bottom = (side[:, None] for side in boxes[a].T)
    other = boxes[b].T
    zero = np.float32(0)
    inter = np.minimum(right, other[2])
    inter -= np.maximum(left, other[0])
    np.maximum(inter, zero, out=inter)
    high = np.minimum(bottom, other[3])
    high -= np.maximum(top, other[1])
    np.maximum(high, zero, out=high)
    inter *= high
    union = np.add(areas[a][:, None], areas[b], out=high)
    union -= inter
    with np.errstate(invalid="ignore", divide="ignore"):
        inter /= union
    above: Marks = inter > iou
    return above
