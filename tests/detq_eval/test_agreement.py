import json
from pathlib import Path

import numpy as np
import pytest

from detq.data.images import ImageRef
from detq.detection import Detections
from detq.errors import DatasetError
from detq_eval.agreement import agreement, agreement_of_files
from detq_eval.classes import ClassMap
from detq_eval.coco_rows import detections_as_coco

Found = list[tuple[ImageRef, Detections]]
Row = tuple[float, float, float, float, float, int]  # left, top, width, height, score, class

SMALL: Row = (10, 10, 20, 20, 0.9, 0)
MEDIUM: Row = (100, 100, 50, 60, 0.6, 1)
LARGE: Row = (200, 50, 150, 150, 0.5, 0)
FAINT: Row = (10, 300, 40, 40, 0.1, 1)


def detections(*rows: Row) -> Detections:
    table = np.array(sorted(rows, key=lambda row: -row[4]), np.float64).reshape(-1, 6)
    table[:, 2:4] += table[:, :2]
    return Detections(
        table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(int)
    )


def images(*each: list[Row]) -> Found:
    return [(ImageRef(n, Path(f"{n}.jpg")), detections(*rows)) for n, rows in enumerate(each)]


def moved(row: Row, right: float = 0, score: float | None = None, label: int | None = None) -> Row:
    left, top, width, height, old, kind = row
    return (left + right, top, width, height, old if score is None else score,
            kind if label is None else label)  # fmt: skip


FLOAT = images([SMALL, MEDIUM, FAINT], [LARGE], [])


def test_a_model_agrees_with_itself() -> None:
    found = agreement(FLOAT, FLOAT)
    assert (found.ap, found.ap50) == pytest.approx((1, 1), abs=1e-9)
    assert (found.boxes, found.missed, found.invented) == (3, 0, 0)
    assert (found.score_shift, found.score_spread) == (0, 0)
    assert list(found.by_size) == ["small", "medium", "large"]
    for size in found.by_size.values():
        assert (size.ap, size.boxes) == pytest.approx((1, 1), abs=1e-9)


def test_missed_invented_and_moved_are_told_apart_by_size() -> None:
    lost_small = images([moved(MEDIUM, score=0.4)], [LARGE, moved(LARGE, right=300)], [])
    found = agreement(FLOAT, lost_small)
    assert (found.boxes, found.missed, found.invented) == (3, 1, 1)
    assert found.score_shift == pytest.approx((-0.2 + 0) / 2, abs=1e-6)
    assert found.score_spread == pytest.approx(0.1, abs=1e-6)
    assert (found.by_size["small"].missed, found.by_size["small"].ap) == (1, 0)
    assert found.by_size["medium"].score_shift == pytest.approx(-0.2, abs=1e-6)
    assert (found.by_size["large"].missed, found.by_size["large"].invented) == (0, 1)
    # Class 0 has two boxes of three, the first two of which are the invented one's equals.
    assert 0 < found.ap < 1


def test_a_score_that_crosses_the_confidence_is_no_missed_box() -> None:
    reference = images([moved(SMALL, score=0.26), moved(MEDIUM, score=0.24)])
    other = images([moved(SMALL, score=0.24), moved(MEDIUM, score=0.26)])
    found = agreement(reference, other)
    assert (found.boxes, found.missed, found.invented) == (1, 0, 0)
    assert found.score_shift == pytest.approx(-0.02, abs=1e-6)


def test_a_box_of_another_class_or_elsewhere_is_another_box() -> None:
    for change in (moved(LARGE, label=1), moved(LARGE, right=80)):
        found = agreement(images([LARGE]), images([change]))
        assert (found.missed, found.invented, found.ap50) == (1, 1, 0), change
    near = agreement(images([LARGE]), images([moved(LARGE, right=30)]))  # overlap 2 / 3
    assert (near.missed, near.invented) == (0, 0)
    assert near.ap50 == pytest.approx(1, abs=1e-9)
    assert near.ap == pytest.approx(0.4, abs=1e-9)  # found at 4 of COCO's 10 overlaps


def test_a_fifth_of_the_confidence_is_enough_for_a_partner() -> None:
    faint = agreement(images([LARGE]), images([moved(LARGE, score=0.06)]))
    assert (faint.missed, faint.ap) == (0, pytest.approx(1, abs=1e-9))
    gone = agreement(images([LARGE]), images([moved(LARGE, score=0.04)]))
    assert (gone.missed, gone.ap) == (1, 0)


def test_each_box_has_one_partner_and_the_best_score_chooses() -> None:
    twice = images([moved(LARGE, right=10, score=0.4), moved(LARGE, score=0.8)])
    found = agreement(images([LARGE]), twice)
    assert found.score_shift == pytest.approx(0.3, abs=1e-6)
    assert found.invented == 1


def test_the_confidence_decides_what_is_true() -> None:
    assert agreement(FLOAT, FLOAT, confidence=0.05).boxes == 4
    assert agreement(FLOAT, FLOAT, confidence=0.55).boxes == 2
    nothing = agreement(FLOAT, FLOAT, confidence=0.95)
    assert (nothing.ap, nothing.boxes, nothing.score_shift) == (-1, 0, 0)


def test_more_noise_is_less_agreement() -> None:
    rng = np.random.default_rng(0)

    def noisy(amount: float) -> Found:
        each = []
        for ref, one in FLOAT:
            boxes = one.boxes + rng.normal(0, amount, one.boxes.shape).astype(np.float32)
            each.append((ref, Detections(boxes, one.scores, one.classes)))
        return each

    found = [agreement(FLOAT, noisy(amount)).ap for amount in (0, 1, 3, 20)]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1] + 0.5


def test_result_files_say_the_same(tmp_path: Path) -> None:
    other = images([moved(SMALL, right=2), moved(MEDIUM, score=0.3)], [LARGE], [FAINT])
    classes = ClassMap(("person", "cat"), (17, 3), "name")
    files = tmp_path / "float.json", tmp_path / "int8.json"
    for file, found in zip(files, (FLOAT, other), strict=True):
        file.write_text(json.dumps(detections_as_coco(found, classes)))
    one, two = agreement_of_files(*files), agreement(FLOAT, other)
    assert (one.ap, one.boxes, one.missed, one.invented) == (
        pytest.approx(two.ap, abs=1e-9), two.boxes, two.missed, two.invented,
    )  # fmt: skip
    assert one.score_shift == pytest.approx(two.score_shift, abs=1e-5)  # scores have 5 digits


def test_files_without_a_detection_have_nothing_in_common(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty.json", tmp_path / "full.json"
    empty.write_text("[]")
    full.write_text(json.dumps(detections_as_coco(FLOAT, ClassMap(("a", "b"), (1, 2), "name"))))
    assert agreement_of_files(empty, empty).boxes == 0
    lost = agreement_of_files(full, empty)
    assert (lost.ap, lost.missed, lost.invented) == (0, 3, 0)
    assert agreement_of_files(empty, full).invented == 3


def test_other_images_are_refused() -> None:
    with pytest.raises(DatasetError, match="3 images of the one model are not the 2"):
        agreement(FLOAT, FLOAT[:2])
