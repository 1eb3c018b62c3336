from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from detq.cli import cells
from detq.cli.cells import cell_keys
from detq.errors import DetqError
from detq.recipe import Calibration, Evaluation, Recipe
from tests.tiny_dataset import TinyDataset, another_first, fewer_boxes, fewer_lines, tiny_dataset


@pytest.fixture
def data(tmp_path: Path) -> TinyDataset:
    return tiny_dataset(tmp_path / "pictures", 3)


@pytest.fixture
def recipe(data: TinyDataset, tmp_path: Path) -> Recipe:
    checkpoint = tmp_path / "x.pt"
    checkpoint.write_bytes(b"weights")
    return Recipe(
        checkpoint=checkpoint,
        size=(64, 96),
        calibration=Calibration(data=data.train, count=3),
        evaluation=Evaluation(data=data.coco, images=data.val),
    )


def key(recipe: Recipe) -> str:
    return cell_keys({"one": recipe})["one"]


def another_to_score(data: TinyDataset) -> None:
    another_first(data.val)


def another_to_look_at(data: TinyDataset) -> None:
    another_first(data.train)


@pytest.mark.parametrize(
    ("labels", "change"),
    [
        ("coco", fewer_boxes),
        ("coco", another_to_score),
        ("coco", another_to_look_at),
        ("yolo", fewer_lines),
        ("yolo", another_to_score),
    ],
)
def test_a_cell_is_made_from_its_data(
    recipe: Recipe, data: TinyDataset, labels: str, change: Callable[[TinyDataset], None]
) -> None:
    images = data.val if labels == "coco" else None
    recipe = replace(recipe, evaluation=Evaluation(data=getattr(data, labels), images=images))
    before = key(recipe)
    assert key(recipe) == before
    change(data)
    assert key(recipe) != before


def test_labels_of_a_cell_that_is_not_scored_do_not_matter(
    recipe: Recipe, data: TinyDataset
) -> None:
    recipe = replace(recipe, evaluation=None)
    before = key(recipe)
    fewer_boxes(data)
    assert key(recipe) == before


def test_files_of_several_cells_are_read_once(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(cells, "file_hash", lambda path: str(read.append(path)))
    found = cell_keys({"one": recipe, "other": replace(recipe, batch=1)})
    assert read == [recipe.checkpoint]
    assert found["one"] != found["other"]


def test_data_that_is_not_there_is_named(recipe: Recipe, data: TinyDataset) -> None:
    (data.val / "001.jpg").unlink()
    with pytest.raises(DetqError, match=r"1 of 3 images are missing: .*001\.jpg"):
        key(recipe)
