from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from detq.cli.chain import tools_for
from detq.cli.output import Output
from detq.cli.tuning import boxes_for, measures_for
from detq.recipe import Bench, Calibration, Evaluation, Recipe
from detq.run_dir import key_of
from tests.tiny_dataset import TinyDataset, another_first, fewer_boxes, fewer_lines, tiny_dataset

QUIET = Output(quiet=True)


@pytest.fixture
def data(tmp_path: Path) -> TinyDataset:
    return tiny_dataset(tmp_path / "pictures", 3)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.json"
    path.write_text("{}")
    return path


@pytest.fixture
def recipe(data: TinyDataset, tmp_path: Path) -> Recipe:
    return Recipe(
        checkpoint=tmp_path / "x.pt",
        size=(64, 96),
        calibration=Calibration(data=data.train, count=2),
        evaluation=Evaluation(data=data.coco, images=data.val, backends=("torch",)),
    )


def key(recipe: Recipe, timed: bool = False, profile: Path | None = None) -> str:
    """Of all that answers depend on beside the recipe."""
    tools = tools_for(recipe, QUIET)
    return key_of(measures_for(recipe, "torch", 2, tools, timed, profile, QUIET).of)


def another_to_score(data: TinyDataset) -> None:
    another_first(data.val)


@pytest.mark.parametrize(
    ("labels", "change"),
    [
        ("coco", fewer_boxes),
        ("coco", another_to_score),
        ("yolo", fewer_lines),
        ("yolo", another_to_score),
    ],
)
def test_accuracy_depends_on_labels_and_images(
    recipe: Recipe, data: TinyDataset, labels: str, change: Callable[[TinyDataset], None]
) -> None:
    images = data.val if labels == "coco" else None
    recipe = replace(recipe, evaluation=Evaluation(data=getattr(data, labels), images=images))
    before = key(recipe)
    assert key(recipe) == before
    change(data)
    assert key(recipe) != before


def test_times_depend_on_how_they_are_taken(recipe: Recipe) -> None:
    ways: list[Any] = [None, Bench(backend="torch", rounds=2), Bench(backend="torch", threads=1)]
    assert len({key(replace(recipe, bench=bench), timed=True) for bench in ways}) == 3
    assert len({key(replace(recipe, bench=bench)) for bench in ways}) == 1  # nothing is timed


def test_predicted_times_depend_on_the_profile(recipe: Recipe, profile: Path) -> None:
    before = key(recipe, profile=profile)
    assert before != key(recipe)
    profile.write_text("{ }")
    assert key(recipe, profile=profile) != before


def test_boxes_depend_on_the_images_and_the_protocol(recipe: Recipe, data: TinyDataset) -> None:
    assert recipe.evaluation is not None
    other = replace(recipe, evaluation=replace(recipe.evaluation, iou=0.5))
    before = key_of(boxes_for(recipe, 2, QUIET).of)
    assert key_of(boxes_for(other, 2, QUIET).of) != before
    another_to_score(data)
    assert key_of(boxes_for(recipe, 2, QUIET).of) != before
