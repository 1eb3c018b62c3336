import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detq.data.images import ImageRef
from detq.detection import Detections
from detq_eval.classes import ClassMap
from detq_eval.coco_map import CocoMetrics, score
from detq_eval.coco_rows import detections_as_coco
from detq_eval.dataset import Dataset, read_dataset
from detq_eval.truth import Truth

NAMES = ("one", "two", "never", "unfound")
IDS = (30, 4, 7, 12)  # the model's order is not that of the ids
IMAGES = 12

Found = list[tuple[ImageRef, Detections]]


def random_truth(rng: np.random.Generator) -> Truth:
    count = 70
    boxes = np.concatenate(
        (rng.uniform(0, 300, (count, 2)), rng.uniform(4, 200, (count, 2))), axis=1
    )
    return Truth(
        rng.integers(0, IMAGES, count),
        rng.choice([30, 4, 12], count, p=[0.5, 0.4, 0.1]),
        boxes,
        boxes[:, 2] * boxes[:, 3] * rng.uniform(0.4, 1, count),
        rng.random(count) < 0.1,
    )


def random_found(rng: np.random.Generator, refs: list[ImageRef], truth: Truth) -> Found:
    """True boxes moved a little, some twice or with another class; scores in coarse steps."""
    found = []
    for index, ref in enumerate(refs):
        near = np.flatnonzero(truth.image == index)
        near = near[truth.category[near] != 12]
        rows = rng.choice(near, rng.integers(0, 250)) if len(near) and index != 5 else near[:0]
        sides = truth.boxes[rows] * rng.uniform(0.8, 1.2, (len(rows), 4))
        boxes = np.concatenate((sides[:, :2], sides[:, :2] + sides[:, 2:]), axis=1)
        labels = np.where(truth.category[rows] == 30, 0, 1)
        labels = np.where(rng.random(len(rows)) < 0.2, rng.integers(0, 3, len(rows)), labels)
        scores = np.sort(rng.integers(1, 60, len(rows)) / 60)[::-1]
        found.append((ref, Detections(boxes.astype(np.float32), scores.astype(np.float32), labels)))
    return found


def plain_run(dataset: Dataset, found: Found) -> Any:
    """pycocotools as everyone runs it."""
    truth = dataset.truth
    coco = COCO()
    coco.dataset = {
        "images": [{"id": ref.id} for ref in dataset.images],
        "categories": [{"id": key} for key in dataset.classes.category_ids],
        "annotations": [
            {"id": n + 1, "image_id": dataset.images[truth.image[n]].id,
             "category_id": int(truth.category[n]), "bbox": truth.boxes[n].tolist(),
             "area": float(truth.areas[n]), "iscrowd": int(truth.crowd[n])}
            for n in range(len(truth))
        ],
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(detections_as_coco(found, dataset.classes)), "bbox")
        run.params.imgIds = [ref.id for ref, _ in found]
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def make(seed: int, strings: bool = False) -> tuple[Dataset, Found]:
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(1000)[:IMAGES].tolist()
    refs = [ImageRef(f"{n}.jpg" if strings else n, Path(f"{n}.jpg")) for n in numbers]
    truth = random_truth(rng)
    dataset = Dataset(Path("x.json"), tuple(refs), ClassMap(NAMES, IDS, "name"), truth)
    return dataset, random_found(rng, refs, truth)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("strings", "at_once"), [(False, 256), (True, 4)])
def test_equals_a_plain_run_bit_for_bit(
    seed: int,
    strings: bool,
    at_once: int,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("detq_eval.coco_map.IMAGES_AT_ONCE", at_once)
    dataset, found = make(seed, strings)
    found = found[:-2]  # images that were not seen do not count
    expected = plain_run(dataset, found)
    capfd.readouterr()
    metrics = score(dataset, found[::-1])
    assert capfd.readouterr() == ("", "")
    figures = [getattr(metrics, name) for name in CocoMetrics.__struct_fields__[:12]]
    assert figures == expected.stats.tolist()
    assert 0 < metrics.ap < metrics.ap50 < 1
    precision = expected.eval["precision"][:, :, :, 0, 2]  # classes sorted by id: 4, 7, 12, 30
    assert dict(metrics.per_class) == {
        "one": precision[:, :, 3].mean(),
        "two": precision[:, :, 0].mean(),
        "never": -1,
        "unfound": 0,
    }
    assert [name for name, _ in metrics.per_class] == list(NAMES)


def test_real_detections_equal_a_plain_run(data: Path) -> None:
    names = tuple(str(number) for number in range(80))
    dataset = read_dataset(data / "coco" / "eval_val2017.json", names=names)
    assert dataset.classes.matched_by == "order"
    rng = np.random.default_rng(0)
    truth = dataset.truth
    number = {category: label for label, category in enumerate(dataset.classes.category_ids)}
    found = []
    for index, ref in enumerate(dataset.images[:40]):
        rows = np.flatnonzero(truth.image == index).repeat(3)
        sides = truth.boxes[rows] * rng.uniform(0.9, 1.1, (len(rows), 4))
        boxes = np.concatenate((sides[:, :2], sides[:, :2] + sides[:, 2:]), axis=1)
        labels = np.array([number[category] for category in truth.category[rows]], np.int64)
        scores = rng.random(len(rows), np.float32)
        found.append((ref, Detections(boxes.astype(np.float32), scores, labels)))
    metrics = score(dataset, found)
    expected = plain_run(dataset, found)
    figures = [getattr(metrics, name) for name in CocoMetrics.__struct_fields__[:12]]
    assert figures == expected.stats.tolist()


def test_nothing_found_scores_zero() -> None:
    dataset, found = make(0)
    nothing = Detections(
        np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64)
    )
    metrics = score(dataset, [(ref, nothing) for ref, _ in found])
    assert (metrics.ap, metrics.ar100) == (0, 0)


def test_the_truth_itself_scores_one() -> None:
    dataset, _ = make(1)
    truth = dataset.truth
    found = []
    for index, ref in enumerate(dataset.images):
        rows = np.flatnonzero((truth.image == index) & ~truth.crowd)
        low, size = truth.boxes[rows, :2], truth.boxes[rows, 2:]
        labels = np.array([IDS.index(key) for key in truth.category[rows]], np.int64)
        boxes = np.concatenate((low, low + size), axis=1).astype(np.float32)
        found.append((ref, Detections(boxes, np.full(len(rows), 0.9, np.float32), labels)))
    assert score(dataset, found).ap == pytest.approx(1, abs=1e-9)


def test_rows_are_rounded_as_in_a_result_file() -> None:
    boxes = np.array([[10.12345, 20.00049, 30.5, 60.98765]], np.float32)
    found = Detections(boxes, np.array([0.123456789], np.float32), np.array([1]))
    (row,) = detections_as_coco([(ImageRef(7, Path()), found)], ClassMap(NAMES, IDS, "name"))
    assert row == {
        "image_id": 7,
        "category_id": 4,
        "bbox": [10.123, 20.0, 20.377, 40.987],
        "score": 0.12346,
    }
