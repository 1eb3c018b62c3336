from pathlib import Path

import cv2
import numpy as np
import pytest

from detq.data.images import list_images
from detq.data.yolo_yaml import read_data_yaml
from detq.errors import DatasetError


def write_images(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint8))


def write_yaml(folder: Path, text: str) -> Path:
    (folder / "data.yaml").write_text(text)
    return folder / "data.yaml"


def test_splits_may_be_folders_lists_of_folders_and_files(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_images(root / "images/a/1.png", root / "images/b/2.png", root / "images/c/3.png")
    (root / "val.txt").write_text("./images/c/3.png\n")
    file = write_yaml(
        tmp_path, "path: set\ntrain: [images/a, images/b]\nval: val.txt\nnames: {1: dog, 0: cat}\n"
    )
    assert [ref.id for ref in list_images(file)] == ["images/a/1.png", "images/b/2.png"]
    assert [ref.id for ref in list_images(file, split="val")] == ["images/c/3.png"]
    assert read_data_yaml(file).names == ("cat", "dog")


def test_paths_without_root_are_relative_to_the_file(tmp_path: Path) -> None:
    write_images(tmp_path / "train/images/1.png")
    file = write_yaml(tmp_path, "train: train/images\nnc: 2\nis_coco: false\n")
    assert [ref.id for ref in list_images(file)] == ["train/images/1.png"]
    assert read_data_yaml(file).names == ("0", "1")


def test_paths_may_be_relative_to_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "coco/images/1.png")
    (tmp_path / "project/data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    file = write_yaml(tmp_path / "project/data", "train: ../coco/images\nnames: [a]\n")
    assert [ref.path.name for ref in list_images(file)] == ["1.png"]


def test_paths_that_start_one_folder_too_high(tmp_path: Path) -> None:
    write_images(tmp_path / "set/valid/images/1.png", tmp_path / "set/train/images/2.png")
    file = write_yaml(
        tmp_path / "set", "train: ../train/images\nval: ../valid/images\nnames: [a]\n"
    )
    assert [ref.id for ref in list_images(file)] == ["train/images/2.png"]
    assert [ref.id for ref in list_images(file, split="val")] == ["valid/images/1.png"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("train: [", "is not a data.yaml"),
        ("- 1", r"is not a data.yaml: Expected `object`, got `array`"),
        ("date: 2024-02-30", "is not a data.yaml: day is out of range"),
        ("train: 3", r"is not a data.yaml: .* at `\$.train`"),
        ("val: x", r"has no images under 'train' \(it has val; add it, or give a folder\)"),
        ("train: x", r"names a folder or list that is not there: \S+/x"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: str, text: str) -> None:
    with pytest.raises(DatasetError, match=r"data.yaml: " + text):
        list_images(write_yaml(tmp_path, content))
