import base64
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from detq.data.images import ImageRef
from detq_eval.report.gallery import SIDE, Gallery, gallery

NAMES = {1: "cat", 2: "dog"}


@pytest.fixture
def refs(tmp_path: Path) -> list[ImageRef]:
    found = []
    for number in range(4):
        path = tmp_path / f"{number}.png"
        assert cv2.imwrite(str(path), np.full((60, 80 if number else 1200, 3), 50, np.uint8))
        found.append(ImageRef(number, path))
    return found


def row(image: int, score: float, left: float = 10, category: int = 1) -> dict[str, object]:
    return {
        "image_id": image, "category_id": category, "bbox": [left, 10, 20, 20], "score": score,
    }  # fmt: skip


def compared(
    folder: Path,
    refs: list[ImageRef],
    wanted: list[dict[str, object]],
    got: list[dict[str, object]],
    count: int = 9,
) -> Gallery:
    files = folder / "a.json", folder / "b.json"
    for file, rows in zip(files, (wanted, got), strict=True):
        file.write_text(json.dumps(rows))
    return gallery(*files, refs, NAMES, label="plain", backend="torch", count=count)


def test_the_worst_comes_first(tmp_path: Path, refs: list[ImageRef]) -> None:
    wanted = [row(0, 0.8), row(1, 0.9), row(2, 0.5), row(3, 0.7)]
    got = [row(0, 0.6), row(2, 0.5), row(3, 0.7), row(3, 0.4, left=50, category=2)]
    found = compared(tmp_path, refs, wanted, got)
    told = [(picture.name, round(picture.disagreement, 6)) for picture in found.pictures]
    assert told == [("1.png", 0.9), ("3.png", 0.4), ("0.png", 0.2)]
    assert (found.images, found.differing) == (4, 2)
    missed, invented, moved = found.pictures
    assert [(b.name, b.alone) for b in missed.reference] == [("cat", True)]
    assert missed.other == ()
    assert [(b.name, b.alone) for b in invented.other] == [("cat", False), ("dog", True)]
    assert invented.other[1].box == (50.0, 10.0, 70.0, 30.0)
    assert not any(box.alone for box in (*moved.reference, *moved.other))
    assert (moved.width, moved.height) == (1200, 60)


def test_what_is_seldom_shown_does_not_count(tmp_path: Path, refs: list[ImageRef]) -> None:
    # Below the confidence in both, and a pair of which one is below: only that moved.
    found = compared(tmp_path, refs, [row(0, 0.2), row(1, 0.26)], [row(1, 0.24), row(2, 0.1)])
    (only,) = found.pictures
    assert only.name == "1.png"
    assert only.disagreement == pytest.approx(0.02, abs=1e-6)
    assert (len(only.reference), len(only.other)) == (1, 0)
    assert not only.reference[0].alone
    assert found.differing == 0


@pytest.mark.parametrize("rows", [[], [{"image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5],
                                        "score": 0.9}]])  # fmt: skip
def test_agreement_has_nothing_to_show(
    tmp_path: Path, refs: list[ImageRef], rows: list[dict[str, object]]
) -> None:
    found = compared(tmp_path, refs, rows, rows)
    assert (found.pictures, found.differing, found.images) == ((), 0, 4)


def test_no_more_than_asked_for_and_images_that_are_gone_are_passed_over(
    tmp_path: Path, refs: list[ImageRef]
) -> None:
    wanted = [row(n, 0.9 - n / 10) for n in range(4)]
    refs[0].path.unlink()
    found = compared(tmp_path, refs, wanted, [], count=2)
    assert [picture.name for picture in found.pictures] == ["1.png", "2.png"]


def test_pictures_are_small(tmp_path: Path, refs: list[ImageRef]) -> None:
    found = compared(tmp_path, refs, [row(0, 0.9), row(1, 0.8)], [])
    large, small = (
        cv2.imdecode(np.frombuffer(base64.b64decode(p.jpeg), np.uint8), cv2.IMREAD_COLOR)
        for p in found.pictures
    )
    assert large is not None and small is not None
    assert large.shape == (28, SIDE, 3)
    assert small.shape == (60, 80, 3)
