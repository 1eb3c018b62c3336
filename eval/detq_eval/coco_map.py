"""COCO's twelve figures, exactly as pycocotools computes them, in little memory.

pycocotools holds all boxes as dictionaries, and a record for every class, image and range
of areas. No class and no image depends on the others until the records are added up, so it
runs here on some images of one class after the other; only what it adds up is kept.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
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
Doubles = NDArray[np.float64]
Arrays = Mapping[str, Doubles]
Row = dict[str, Any]
Record = dict[str, NDArray[Any]]

IMAGES_AT_ONCE = 256
_CLASS_AXIS = {"precision": 2, "recall": 1}


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
    images = sorted((ref.id for ref, _ in found), key=lambda key: (isinstance(key, str), key))
    number = {key: index for index, key in enumerate(images)}
    true, detected = _True(dataset, number), _Detected(dataset, found, number)
    ordered = np.argsort(ids)  # pycocotools goes by category id, which decides its last bit
    results = [
        _evaluate_class(true, detected, category, len(images)) for category in ids[ordered].tolist()
    ]
    joined = _join(results)
    precision = joined.eval["precision"][:, :, :, 0, -1]
    per_class = np.empty(len(ids))
    per_class[ordered] = [_mean_of_known(precision[:, :, k]) for k in range(len(ids))]
    named = zip(dataset.classes.names, per_class.tolist(), strict=True)
    figures = dict(zip(CocoMetrics.__struct_fields__, joined.stats.tolist(), strict=False))
    return CocoMetrics(**figures, per_class=tuple(named))


class _True:
    """The true boxes; images are numbered in the order of their ids."""

    def __init__(self, dataset: Dataset, number: Mapping[int | str, int]) -> None:
        truth = dataset.truth
        images = np.array([number.get(ref.id, -1) for ref in dataset.images])[truth.image]
        order = np.argsort(images, kind="stable")
        order = order[images[order] >= 0]
        self._image, self._category = images[order], truth.category[order]
        self._columns = (truth.boxes[order], truth.areas[order], truth.crowd[order])

    def has(self, category: int) -> bool:
        return bool((self._category == category).any())

    def of(self, category: int, images: range) -> list[Row]:
        """Rows of one class."""
        first, last = np.searchsorted(self._image, (images.start, images.stop))
        chosen = first + np.flatnonzero(self._category[first:last] == category)
        boxes, areas, crowd = (column[chosen] for column in self._columns)
        named = {"bbox": boxes, "area": areas, "iscrowd": crowd.astype(np.int64)}
        return _rows(category, self._image[chosen], named)


class _Detected:
    """The detections; images are numbered in the order of their ids."""

    def __init__(self, dataset: Dataset, found: Found, number: Mapping[int | str, int]) -> None:
        self._found, self._classes = found, dataset.classes
        places = sorted((number[ref.id], index) for index, (ref, _) in enumerate(found))
        self._places = [index for _, index in places]

    def of(self, category: int, images: range) -> list[Row]:
        """Rows of one class, read where they are: all of them may not fit into memory."""
        each = []
        for image in images:
            detections = self._found[self._places[image]][1]
            of_class = categories_of(detections, self._classes) == category
            each.append((detections.boxes[of_class], detections.scores[of_class]))
        boxes, scores = (np.concatenate(column) for column in zip(*each, strict=True))
        written = written_boxes(boxes)
        area = written[:, 2] * written[:, 3]
        named = {"bbox": written, "area": area, "score": written_scores(scores)}
        return _rows(category, np.repeat(images, [len(one) for one, _ in each]), named)


def _rows(category: int, image: NDArray[Any], named: Mapping[str, NDArray[Any]]) -> list[Row]:
    """What pycocotools wants to know of boxes; ids begin with 1, as 0 means nothing matched."""
    count = len(image)
    keys = ("image_id", "category_id", "id", *named)
    values = (image.tolist(), [category] * count, range(1, count + 1))
    each = zip(*values, *(column.tolist() for column in named.values()), strict=True)
    return [dict(zip(keys, row, strict=True)) for row in each]


class _OneClass:
    """What COCOeval asks of a data set, for the rows of one class."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    def getImgIds(self) -> list[int]:  # noqa: N802
        return sorted({row["image_id"] for row in self._rows})

    def getCatIds(self) -> list[int]:  # noqa: N802
        return sorted({row["category_id"] for row in self._rows})

    def getAnnIds(self, **_: Any) -> range:  # noqa: N802
        return range(len(self._rows))

    def loadAnns(self, ids: range) -> list[Row]:  # noqa: N802
        return [self._rows[i] for i in ids]


def _evaluate_class(true: _True, detected: _Detected, category: int, images: int) -> Arrays | None:
    """COCOeval's arrays of one class; None where the truth has none of it."""
    if not true.has(category):
        return None
    run = COCOeval(iouType="bbox")
    by_area: list[list[Record]] = [[] for _ in run.params.areaRng]
    for start in range(0, images, IMAGES_AT_ONCE):
        some = range(start, min(start + IMAGES_AT_ONCE, images))
        part = _records(true.of(category, some), detected.of(category, some))
        for whole, records in zip(by_area, part, strict=True):
            whole += records
    run.params.catIds = [category]
    run.params.imgIds = range(len(by_area[0]))
    run._paramsEval = run.params
    run.evalImgs = [record for records in by_area for record in records]
    with contextlib.redirect_stdout(io.StringIO()):
        run.accumulate()
    return {key: run.eval[key] for key in _CLASS_AXIS}


def _records(true: list[Row], detected: list[Row]) -> list[list[Record]]:
    """What COCOeval notes of each image, per range of areas; only what it adds up later."""
    run = COCOeval(_OneClass(true), _OneClass(detected), "bbox")
    # Images with nothing of the class add nothing, not even to the order of the others.
    run.params.imgIds = sorted({row["image_id"] for row in (*true, *detected)})
    run.params.catIds = sorted({row["category_id"] for row in (*true, *detected)})
    with contextlib.redirect_stdout(io.StringIO()):
        run.evaluate()
    short = [
        {
            "dtScores": np.array(record["dtScores"]),
            "dtMatches": record["dtMatches"] > 0,
            "dtIgnore": record["dtIgnore"],
            "gtIgnore": record["gtIgnore"],
        }
        for record in run.evalImgs
    ]
    count, ranges = len(run.params.imgIds), len(run.params.areaRng)
    return [short[area * count : (area + 1) * count] for area in range(ranges)]


def _join(results: Sequence[Arrays | None]) -> Any:
    """A COCOeval with all classes, summarized."""
    run = COCOeval(iouType="bbox")
    absent = _absent(run.params)
    for key, axis in _CLASS_AXIS.items():
        parts = [(one or absent)[key] for one in results]
        run.eval[key] = np.concatenate(parts, axis=axis)
    with contextlib.redirect_stdout(io.StringIO()):
        run.summarize()
    return run


def _absent(params: Any) -> Arrays:
    """What COCOeval gives for a class without a true box."""
    thresholds, recalls = len(params.iouThrs), len(params.recThrs)
    ranges = (1, len(params.areaRng), len(params.maxDets))
    return {
        "precision": np.full((thresholds, recalls, *ranges), -1.0),
        "recall": np.full((thresholds, *ranges), -1.0),
    }


def _mean_of_known(precision: Doubles) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else -1.0
