from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("torch", reason="the zoo is merged in torch")

from detq.pipeline import Tools
from detq.pipeline.candidates import Candidates, Measures
from detq.pipeline.sensitivity import Boxes, Look
from detq.recipe import Calibration, MinMax, Mse, Recipe
from detq.run_dir import RunDir
from detq.target import PLAIN
from detq.tune.budget import Tried
from tests.tiny_dataset import tiny_dataset
from tests.zoo import tiny_detector


@dataclass
class Measured:
    """An engine that counts what it is asked, and finds less in every next file."""

    folder: Path
    of: Mapping[str, Any] = field(default_factory=dict)
    scored: list[str] = field(default_factory=list)

    def start(self, recipe: Recipe) -> Tried:
        """The first answer of another call in the same folder."""
        never: Any = None
        tools = Tools(
            read_source=lambda path, size: tiny_detector(size=size),
            target_named=lambda name: PLAIN,
            engine_here=lambda name: name,
            truth_files=never,
            read_truth=never,
            evaluate=never,
            bench=never,
            gallery=never,
            report=never,
            note=lambda line: None,
            progress=lambda text, total: _nobody_told(),
        )
        boxes = Boxes(lambda runner: None, lambda wanted, got: 0.9)
        measures = Measures(
            open=lambda file: nullcontext(never), boxes=boxes, ap=self._ap, latency=None, of=self.of
        )
        self.scored.clear()
        with RunDir(self.folder) as folder:
            judge = Candidates(recipe, "plain", folder, tools, measures, Look(images=2))
            return judge.fully(recipe, "start", ())

    def _ap(self, file: Path) -> float:
        self.scored.append(file.name)
        return 0.5 - 0.1 * len(self.scored)


@contextmanager
def _nobody_told() -> Iterator[Any]:
    yield lambda done: None


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    return Measured(tmp_path / "run")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    checkpoint = tmp_path / "x.pt"
    checkpoint.write_bytes(b"the zoo's")
    return Recipe(
        checkpoint=checkpoint,
        size=(32, 32),
        calibration=Calibration(data=tiny_dataset(tmp_path / "pictures", 3).train, count=2),
        range=MinMax(),
        channel_wise=None,
        learn=(),
        targets=("plain",),
    )


BOTH = ["model.plain.onnx", "float.onnx"]


def test_an_answer_is_found_again(measured: Measured, recipe: Recipe) -> None:
    first = measured.start(recipe)
    assert measured.scored == BOTH
    assert measured.start(recipe) == first
    assert measured.scored == []


def test_another_choice_keeps_the_answer_of_the_float_model(
    measured: Measured, recipe: Recipe
) -> None:
    measured.start(recipe)
    measured.start(msgspec.structs.replace(recipe, range=Mse()))
    assert measured.scored == BOTH[:1]


@pytest.mark.parametrize("change", [{"size": (64, 32)}, {"batch": 1}, {"transforms": ("fold_bn",)}])
def test_another_float_model_is_scored_anew(
    measured: Measured, recipe: Recipe, change: dict[str, Any]
) -> None:
    measured.start(recipe)
    measured.start(msgspec.structs.replace(recipe, **change))
    assert measured.scored == BOTH


def test_other_pictures_of_the_same_names_are_looked_at(measured: Measured, recipe: Recipe) -> None:
    before = measured.start(recipe)
    pictures = sorted(recipe.calibration.data.iterdir())
    contents = [picture.read_bytes() for picture in pictures]
    for picture, other in zip(pictures, [*contents[1:], contents[0]], strict=True):
        picture.write_bytes(other)
    assert measured.start(recipe).sha256 != before.sha256
    assert measured.scored == BOTH[:1]


def test_other_measures_answer_anew(measured: Measured, recipe: Recipe) -> None:
    measured.start(recipe)
    measured.of = {"engine": "another"}
    measured.start(recipe)
    assert measured.scored == BOTH
