import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detq.errors import DatasetError
from detq_eval.dataset import Dataset, read_dataset

NAMES = ("cat", "dog")


def content() -> dict[str, Any]:
    return {
        "images": [{"id": 5, "file_name": "a.png"}, {"id": 3, "file_name": "b.png"}],
        "annotations": [
            {"id": 0, "image_id": 3, "category_id": 9, "bbox": [1, 2, 30, 40.5], "area": 7.5},
            {"id": 0, "image_id": 5, "category_id": 4, "bbox": [0, 0, 2, 3], "iscrowd": 1},
            {"id": 1, "image_id": 99, "category_id": 4, "bbox": [0, 0, 2, 3]},
        ],
        "categories": [{"id": 9, "name": "Cat "}, {"id": 4, "name": "DOG"}],
    }


def read(tmp_path: Path, content: Any, names: tuple[str, ...] = NAMES) -> Dataset:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((50, 100, 3), np.uint8))
    file = tmp_path / "truth.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_dataset(file, names=names)


def test_reads_a_coco_file(tmp_path: Path) -> None:
    dataset = read(tmp_path, content())
    assert [(ref.id, ref.path.name) for ref in dataset.images] == [(5, "a.png"), (3, "b.png")]
    truth = dataset.truth
    assert truth.image.tolist() == [1, 0]
    assert truth.category.tolist() == [9, 4]
    assert truth.boxes.tolist() == [[1, 2, 30, 40.5], [0, 0, 2, 3]]
    assert truth.areas.tolist() == [7.5, 6]
    assert truth.crowd.tolist() == [False, True]
    assert dataset.classes.category_ids == (9, 4)
    assert dataset.classes.matched_by == "name"


def test_other_names_match_by_the_order_of_ids(tmp_path: Path) -> None:
    dataset = read(tmp_path, content(), ("Katze", "dog"))
    assert dataset.classes.category_ids == (4, 9)
    assert dataset.classes.matched_by == "order"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"annotations": []}, "truth.json: has no boxes"),
        ({"categories": content()["categories"][:1], "annotations": content()["annotations"][:1]},
         "has 1 class, the model 2"),
        ({"categories": content()["categories"] * 2}, "has a category id twice"),
        ({"categories": [{"id": 2**63, "name": "Cat"}]},
         r"Expected `int` <= 9223372036854775807 - at `\$.categories\[0\].id`"),
        ({"images": content()["images"] * 2}, "has an image id twice"),
        ({"images": [{"id": 5, "file_name": "c.png"}]}, r"1 of 1 images are missing: \S+/c.png"),
        ({"annotations": [{"image_id": 3, "category_id": 2, "bbox": [0, 0, 1, 1]}]},
         "has a box of category 2, which it does not list"),
        ({"annotations": [{"image_id": 3, "category_id": 9, "bbox": [5, 5, 1, -1]}]},
         r"has a box of negative size in image 3: \[5.0, 5.0, 1.0, -1.0\]"),
        ({"annotations": [{"image_id": 3, "category_id": 9, "bbox": [5, 5, 1]}]},
         r"is not a COCO annotation file: .* at `\$.annotations\[0\].bbox`"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_coco_file_is_said(
    tmp_path: Path, change: dict[str, Any], text: str
) -> None:
    with pytest.raises(DatasetError, match=text):
        read(tmp_path, content() | change)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": []}', "\x00"])
def test_what_is_no_coco_file_is_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(DatasetError, match=r"truth.json: is not a COCO annotation file"):
        read(tmp_path, text)


def test_the_class_count_is_that_of_the_model(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has 2 classes, the model 80"):
        read(tmp_path, content(), tuple(map(str, range(80))))


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nothing.json: no such file"):
        read_dataset(tmp_path / "nothing.json", names=NAMES)
    read(tmp_path, content())
    with pytest.raises(DatasetError, match=r"nowhere: no such folder"):
        read_dataset(tmp_path / "truth.json", tmp_path / "nowhere", names=NAMES)


def yolo(tmp_path: Path, labels: str | None, yaml: str = "names: [cat, dog]") -> Dataset:
    for name in ("a.png", "b.png"):
        path = tmp_path / "images" / "val" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((50, 100, 3), np.uint8))
    (tmp_path / "labels" / "val").mkdir(parents=True)
    if labels is not None:
        (tmp_path / "labels" / "val" / "b.txt").write_text(labels)
    (tmp_path / "data.yaml").write_text(f"val: images/val\n{yaml}\n")
    return read_dataset(tmp_path / "data.yaml", names=NAMES)


def test_reads_label_files(tmp_path: Path) -> None:
    dataset = yolo(tmp_path, "1 0.5 0.5 0.2 0.4\n\n0 0.1 0.2 0.3 0.2 0.3 0.8\n")
    truth = dataset.truth
    assert [ref.id for ref in dataset.images] == ["images/val/a.png", "images/val/b.png"]
    assert truth.image.tolist() == [1, 1]
    assert truth.category.tolist() == [1, 0]
    expected = [[40, 15, 20, 20], [10, 10, 20, 30]]
    np.testing.assert_allclose(truth.boxes, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(truth.areas, [400, 600], rtol=0, atol=1e-9)
    assert not truth.crowd.any()


def test_names_are_the_models_where_there_are_none(tmp_path: Path) -> None:
    assert yolo(tmp_path, "1 0.5 0.5 0.2 0.4", "").classes.matched_by == "name"


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (None, "data.yaml: has no boxes"),
        ("0 0.5 0.5 0.2", "b.txt:1: is not a label: 0 0.5 0.5 0.2"),
        ("0 0.5 0.5 0.2 0.2\nx 0.5 0.5 0.2 0.2", "b.txt:2: is not a label"),
        ("0.5 0.5 0.5 0.2 0.2", "b.txt:1: is not a label"),
        ("2 0.5 0.5 0.2 0.2", "b.txt:1: has class 2 of 2"),
        ("0 50 20 10 10", "b.txt:1: is outside of 0...1"),
        ("0 nan 0.5 0.2 0.2", "b.txt:1: is outside of 0...1"),
    ],
)
def test_what_is_wrong_with_label_files_is_said(
    tmp_path: Path, labels: str | None, text: str
) -> None:
    with pytest.raises(DatasetError, match=text):
        yolo(tmp_path, labels)
