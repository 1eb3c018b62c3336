"""How far one model's boxes are from another's on the same images; no labels are read.

The reference, as a rule the float model, stands in for the truth: what it finds with a score
above ``confidence`` are the true boxes, and the other's detections are scored against them as
COCO scores a detector. Beside that average precision stand its reasons: boxes that only the
one or only the other has, and how far the scores of the boxes that both have moved.

Boxes of one class are the same from an overlap of 0.5. The partner of a box may have a fifth of
the confidence: where one fell from 0.26 to 0.24, nothing is missed, but its score moved. What has
less is left out on both sides.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask

from detq.data.images import ImageRef
from detq.detection import Detections
from detq.errors import DatasetError
from detq_eval.classes import ClassMap
from detq_eval.coco_map import score
from detq_eval.dataset import Dataset
from detq_eval.truth import Truth

Found = Sequence[tuple[ImageRef, Detections]]
Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]

CONFIDENCE = 0.25  # above which a box is commonly shown
SAME = 0.5  # overlap
FAINTEST = 0.2  # of the confidence
# Pixels of the original image from which COCO calls a box so.
SIZES: Mapping[str, float] = {"small": 0, "medium": 32**2, "large": 96**2}


class SizeAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """The other model's boxes of one size against the reference's.

    Attributes:
        ap: COCO's AP of the other, 0…1, with the reference's boxes as the truth; -1 where the
            reference has none above the confidence.
        boxes: of the reference, above the confidence.
        missed: those of them that the other does not have, faint ones included.
        invented: boxes of the other above the confidence that the reference does not have, faint
            ones included.
        score_shift: the other's score less the reference's, mean over the ``boxes`` both have.
        score_spread: mean of its magnitude.
    """

    ap: float
    boxes: int
    missed: int
    invented: int
    score_shift: float
    score_spread: float


class Agreement(SizeAgreement, frozen=True, kw_only=True):
    """The other model's boxes against the reference's.

    Attributes:
        ap50: as ``ap``, at IoU 0.50 alone.
        confidence: score above which a box counts.
        by_size: ``small``, ``medium`` and ``large``, as COCO has them.
    """

    ap50: float
    confidence: float
    by_size: Mapping[str, SizeAgreement]


def agreement(reference: Found, other: Found, *, confidence: float = CONFIDENCE) -> Agreement:
    """Compare the detections of two models.

    Args:
        reference: every image with the detections of the one, also those that are only a fifth
            as sure as ``confidence``.
        other: the same images in the same order, with those of the other.
        confidence: score above which a box counts.

    Raises:
        DatasetError: the images differ, or there is none.
    """
    if not reference or [ref.id for ref, _ in reference] != [ref.id for ref, _ in other]:
        raise DatasetError(
            f"{len(reference)} images of the one model are not the {len(other)} of the other",
            hint="run both models on the same images",
        )
    reference, other = (_without_faint(found, confidence) for found in (reference, other))
    classes = 1 + max(int(one.classes.max(initial=0)) for _, one in (*reference, *other))
    figures = score(_as_truth(reference, classes, confidence), other)
    each = [
        _compare(wanted, got, confidence)
        for (_, wanted), (_, got) in zip(reference, other, strict=True)
    ]
    shifts, missed, invented = (
        np.concatenate([np.empty((0, 2)), *column]) for column in zip(*each, strict=True)
    )
    ap_of = dict(zip(SIZES, (figures.ap_small, figures.ap_medium, figures.ap_large), strict=True))
    areas = [*SIZES.values(), np.inf]
    by_size = {
        size: SizeAgreement(ap=ap_of[size], **_counts(shifts, missed, invented, low, high))
        for size, low, high in zip(SIZES, areas[:-1], areas[1:], strict=True)
    }
    return Agreement(
        ap=figures.ap,
        ap50=figures.ap50,
        **_counts(shifts, missed, invented, 0, np.inf),
        confidence=confidence,
        by_size=by_size,
    )


def agreement_of_files(reference: Path, other: Path) -> Agreement:
    """Compare two result files in COCO's form, as ``detections_as_coco`` writes them.

    Args:
        reference: detections of the one model.
        other: those of the other on the same images.
    """
    wanted, got, _ = found_in_files(reference, other)
    return agreement(wanted, got)


def found_in_files(
    reference: Path, other: Path
) -> tuple[list[tuple[ImageRef, Detections]], list[tuple[ImageRef, Detections]], tuple[int, ...]]:
    """Two result files in COCO's form as detections of the same images.

    Returns:
        Those of the one and of the other, with images that know their id alone, and the category
        of each class.
    """
    rows = [msgspec.json.decode(path.read_bytes(), type=list[_Row]) for path in (reference, other)]
    both = [row for some in rows for row in some]
    images = sorted({row.image_id for row in both}, key=lambda key: (isinstance(key, str), key))
    classes = {key: index for index, key in enumerate(sorted({row.category_id for row in both}))}
    # Two models that find nothing agree, on however many images.
    wanted, got = (_found(some, images or [0], classes) for some in rows)
    return wanted, got, tuple(classes)


def _without_faint(found: Found, confidence: float) -> list[tuple[ImageRef, Detections]]:
    some = []
    for ref, one in found:
        seen = one.scores > FAINTEST * confidence
        some.append((ref, Detections(one.boxes[seen], one.scores[seen], one.classes[seen])))
    return some


class _Row(msgspec.Struct, frozen=True, gc=False):
    image_id: int | str
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float


def _found(
    rows: Iterable[_Row], images: Sequence[int | str], classes: Mapping[int, int]
) -> list[tuple[ImageRef, Detections]]:
    of_image: dict[int | str, list[_Row]] = {image: [] for image in images}
    for row in rows:
        of_image[row.image_id].append(row)
    return [
        (ImageRef(image, Path()), _detections(some, classes)) for image, some in of_image.items()
    ]


def _detections(rows: Sequence[_Row], classes: Mapping[int, int]) -> Detections:
    boxes = np.array([row.bbox for row in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Detections(
        boxes.astype(np.float32),
        np.array([row.score for row in rows], np.float32),
        np.array([classes[row.category_id] for row in rows], np.int64),
    )


def _as_truth(found: Found, classes: int, confidence: float) -> Dataset:
    """Detections as if somebody had drawn them by hand."""
    sure = [
        (index, one.boxes[above].astype(np.float64), one.classes[above])
        for index, (_, one) in enumerate(found)
        for above in [one.scores > confidence]
    ]
    corners = np.concatenate([np.empty((0, 4)), *(boxes for _, boxes, _ in sure)])
    boxes = _left_top_size(corners)
    truth = Truth(
        np.repeat(np.arange(len(sure)), [len(labels) for _, _, labels in sure]),
        np.concatenate([np.empty(0, np.int64), *(labels for _, _, labels in sure)]),
        boxes,
        boxes[:, 2] * boxes[:, 3],
        np.zeros(len(boxes), np.bool_),
    )
    ids = tuple(range(classes))
    named = ClassMap(tuple(map(str, ids)), ids, "order")
    return Dataset(Path(), tuple(ref for ref, _ in found), named, truth)


def _left_top_size(corners: NDArray[np.floating]) -> Doubles:
    boxes = corners.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return boxes


def _compare(
    wanted: Detections, got: Detections, confidence: float
) -> tuple[Doubles, Doubles, Doubles]:
    """One image: rows of area and score shift, of area of what is missed, of the invented.

    The last two have a column of zeros, so that all three are [n, 2].
    """
    partner = partners(wanted, got)
    with_one = partner >= 0
    areas, others = _areas(wanted), _areas(got)
    shift = got.scores[partner[with_one]].astype(np.float64) - wanted.scores[with_one]
    pairs = np.stack((areas[with_one], shift), axis=1)[wanted.scores[with_one] > confidence]
    alone = np.setdiff1d(np.flatnonzero(got.scores > confidence), partner)
    missed = areas[~with_one & (wanted.scores > confidence)]
    return pairs, _column(missed), _column(others[alone])


def _column(areas: Doubles) -> Doubles:
    return np.stack((areas, np.zeros_like(areas)), axis=1)


def _areas(found: Detections) -> Doubles:
    boxes = _left_top_size(found.boxes)
    return np.asarray(boxes[:, 2] * boxes[:, 3])


def partners(wanted: Detections, got: Detections) -> Indices:
    """For each box of the one the index of its partner among the other's, or -1.

    The other's boxes choose in the order of their scores, as in COCO's evaluation: each the
    free box of its class that it overlaps most.
    """
    partner = np.full(len(wanted), -1, np.int64)
    for label in np.intersect1d(wanted.classes, got.classes):
        rows = np.flatnonzero(wanted.classes == label)
        columns = np.flatnonzero(got.classes == label)
        columns = columns[np.argsort(-got.scores[columns], kind="stable")]
        boxes = (_left_top_size(one) for one in (wanted.boxes[rows], got.boxes[columns]))
        overlap = mask.iou(*boxes, [0] * len(columns))
        for column, index in enumerate(columns):
            row = int(overlap[:, column].argmax())
            if overlap[row, column] >= SAME:
                partner[rows[row]] = index
                overlap[row] = -1
    return partner


def _counts(
    shifts: Doubles, missed: Doubles, invented: Doubles, low: float, high: float
) -> dict[str, Any]:
    """Of boxes with an area from ``low`` to below ``high``."""
    pairs, alone, new = (
        rows[(rows[:, 0] >= low) & (rows[:, 0] < high)] for rows in (shifts, missed, invented)
    )
    moved = pairs[:, 1] if len(pairs) else np.zeros(1)
    return {
        "boxes": len(pairs) + len(alone),
        "missed": len(alone),
        "invented": len(new),
        "score_shift": float(moved.mean()),
        "score_spread": float(np.abs(moved).mean()),
    }
