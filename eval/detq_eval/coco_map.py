"""COCO's twelve figures, exactly as pycocotools computes them, in little memory.

pycocotools keeps a record for every class, image and range of areas. Its result for one
class does not depend on the others, so it runs here class by class, on the images that
have something of the class, and its arrays are joined before it summarizes them.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval

from detq.data.images import ImageRef
from detq.detection import Detections
from detq_eval.coco_rows import categories_of, written_boxes, written_scores
from detq_eval.dataset import Dataset

Found = Sequence[tuple[ImageRef, Detections]]
Integers = NDArray[np.int64]
Doubles = NDArray[np.float64]


class CocoMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Average precision and recall, 0…1; -1 where the truth has no box of the kind.

    Attributes:
        ap: mean over the IoU thresholds 0.50, 0.55 … 0.95 and all classes.
        ap50: at IoU 0.50.
        ap75: at IoU 0.75.
        ap_small: of boxes below 32 x 32 pixels of the original image.
        ap_medium: up to 96 x 96.
        ap_large: above.
        ar1: recall with one detection per image and class.
        ar10: with ten.
        ar100: with a hundred.
        ar_small: with a hundred, of small boxes.
        ar_medium: of medium boxes.
        ar_large: of large boxes.
        per_class: name and ``ap`` of each class in the model's order.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar1: float
    ar10: float
    ar100: float
    ar_small: float
    ar_medium: float
    ar_large: float
    per_class: tuple[tuple[str, float], ...]


def score(dataset: Dataset, found: Found) -> CocoMetrics:
    """Score what was found against the truth, on the images of ``found`` alone.

    Boxes and scores count with the digits a result file has. The figures are those of
    ``COCOeval(..., "bbox")`` on the same rows, bit for bit.
    """
    ids = np.array(dataset.classes.category_ids)
    rows = _rows(dataset, found)
    ordered = np.argsort(ids)  # pycocotools goes by category id, which decides its last bit
    results = [_evaluate_class(rows, int(category)) for category in ids[ordered]]
    joined = _join(results)
    precision = joined.eval["precision"][:, :, :, 0, -1]
    per_class = np.empty(len(ids))
    per_class[ordered] = [_mean_of_known(precision[:, :, k]) for k in range(len(ids))]
    named = zip(dataset.classes.names, per_class.tolist(), strict=True)
    figures = dict(zip(CocoMetrics.__struct_fields__, joined.stats.tolist(), strict=False))
    return CocoMetrics(**figures, per_class=tuple(named))


@dataclass(frozen=True, slots=True)
class _Boxes:
    """Rows of truth or detections; images are numbered in the order of their ids."""

    image: Integers
    category: Integers
    box: Doubles
    columns: dict[str, NDArray[Any]]

    def of(self, category: int) -> list[dict[str, Any]]:
        """The rows of one class as pycocotools takes them; ids begin with 1, 0 is no id."""
        chosen = np.flatnonzero(self.category == category)
        keys = ("id", "image_id", "category_id", "bbox", *self.columns)
        values = (
            range(1, len(chosen) + 1),
            self.image[chosen].tolist(),
            [category] * len(chosen),
            self.box[chosen].tolist(),
            *(column[chosen].tolist() for column in self.columns.values()),
        )
        return [dict(zip(keys, row, strict=True)) for row in zip(*values, strict=True)]


class _OneClass:
    """What COCOeval asks of a data set, for the rows of one class."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def getImgIds(self) -> list[int]:  # noqa: N802
        return sorted({row["image_id"] for row in self._rows})

    def getCatIds(self) -> list[int]:  # noqa: N802
        return sorted({row["category_id"] for row in self._rows})

    def getAnnIds(self, **_: Any) -> range:  # noqa: N802
        return range(len(self._rows))

    def loadAnns(self, ids: range) -> list[dict[str, Any]]:  # noqa: N802
        return [self._rows[i] for i in ids]


def _rows(dataset: Dataset, found: Found) -> tuple[_Boxes, _Boxes]:
    """Truth and detections."""
    ids = sorted((ref.id for ref, _ in found), key=lambda key: (isinstance(key, str), key))
    number = {key: index for index, key in enumerate(ids)}
    truth = dataset.truth
    # -1: an image that was not looked at.
    of_image = np.array([number.get(ref.id, -1) for ref in dataset.images], np.int64)[truth.image]
    seen = of_image >= 0
    true = _Boxes(
        of_image[seen],
        truth.category[seen],
        truth.boxes[seen],
        {"area": truth.areas[seen], "iscrowd": truth.crowd[seen].astype(np.int64)},
    )
    return true, _detected(dataset, found, number)


def _detected(dataset: Dataset, found: Found, number: dict[int | str, int]) -> _Boxes:
    each = [detections for _, detections in found]
    boxes = np.concatenate([np.empty((0, 4)), *map(written_boxes, each)])
    return _Boxes(
        np.repeat([number[ref.id] for ref, _ in found], [len(one) for one in each]).astype(
            np.int64
        ),
        np.concatenate(
            [np.empty(0, np.int64), *(categories_of(one, dataset.classes) for one in each)]
        ),
        boxes,
        {
            "score": np.concatenate([np.empty(0), *map(written_scores, each)]),
            "area": boxes[:, 2] * boxes[:, 3],
        },
    )


def _evaluate_class(rows: tuple[_Boxes, _Boxes], category: int) -> dict[str, Doubles] | None:
    """COCOeval's arrays of one class; None where the truth has none of it."""
    true, detected = (boxes.of(category) for boxes in rows)
    if not true:
        return None
    run = COCOeval(_OneClass(true), _OneClass(detected), "bbox")
    run.params.imgIds = sorted({row["image_id"] for row in (*true, *detected)})
    run.params.catIds = [category]
    with contextlib.redirect_stdout(io.StringIO()):
        run.evaluate()
        run.accumulate()
    return {key: run.eval[key] for key in ("precision", "recall")}


def _join(results: Sequence[dict[str, Doubles] | None]) -> Any:
    """A COCOeval with all classes, summarized."""
    run = COCOeval(iouType="bbox")
    thresholds, recalls, areas, counts = (
        len(getattr(run.params, key)) for key in ("iouThrs", "recThrs", "areaRng", "maxDets")
    )
    absent = {
        "precision": -np.ones((thresholds, recalls, 1, areas, counts)),
        "recall": -np.ones((thresholds, 1, areas, counts)),
    }
    for key, axis in (("precision", 2), ("recall", 1)):
        run.eval[key] = np.concatenate([(one or absent)[key] for one in results], axis=axis)
    with contextlib.redirect_stdout(io.StringIO()):
        run.summarize()
    return run


def _mean_of_known(precision: Doubles) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else -1.0
