from pathlib import Path

import msgspec
import pytest

from detq.recipe import Abc, BiasCorrection, Calibration, QPRep, Recipe
from detq.run_dir import file_hash
from tests.test_pipeline import Around
from tests.tiny_dataset import SIZE, TinyDataset, tiny_dataset


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> TinyDataset:
    return tiny_dataset(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def recipe(pictures: TinyDataset, tmp_path: Path) -> Recipe:
    checkpoint = tmp_path / "x.pt"
    checkpoint.write_bytes(b"the zoo's")
    return Recipe(
        checkpoint=checkpoint,
        size=SIZE,
        calibration=Calibration(data=pictures.train, count=4),
        learn=(QPRep(images=3), BiasCorrection(images=2)),
        targets=("plain", "onnxruntime"),
        channel_wise=None,
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_every_target_learns_on_its_own_graph_and_says_so(recipe: Recipe, tmp_path: Path) -> None:
    around = Around(tmp_path / "run")
    outcome = around(recipe)
    learned = outcome.figures["learned"]
    assert list(learned) == ["plain", "onnxruntime"]
    for told in learned.values():
        assert [one["method"]["method"] for one in told] == ["qprep", "bias_correction"]
        assert [one["images"] for one in told] == [3, 2]
        for one in told:
            assert one["kept"] == (one["snr_db_after"] >= one["snr_db_before"])
    record = msgspec.json.decode((around.folder / "learned.plain.json").read_bytes())
    assert len(record[0]["losses"]) == outcome.figures["layers"]["plain"]["int8"]
    assert not any(name.startswith("learn.") for name in names(around.folder))
    title = "quantize.plain: learn, write model.plain.onnx"
    assert any(note.endswith(title) for note in around.notes)


def test_without_learners_there_is_no_record(recipe: Recipe, tmp_path: Path) -> None:
    around = Around(tmp_path / "run")
    outcome = around(msgspec.structs.replace(recipe, learn=()))
    assert outcome.figures["learned"] == {}
    assert "learned.plain.json" not in names(around.folder)


def test_what_was_learned_is_kept_until_a_choice_changes(recipe: Recipe, tmp_path: Path) -> None:
    around = Around(tmp_path / "run")
    around(recipe)
    file = around.folder / "model.plain.onnx"
    first = file_hash(file)
    again = around(recipe)
    assert all(step.reused for step in again.steps if step.name.startswith("quantize"))
    other = around(msgspec.structs.replace(recipe, learn=(QPRep(images=4),)))
    assert not any(step.reused for step in other.steps if step.name.startswith("quantize"))
    assert file_hash(file) != first


class KilledError(Exception):
    pass


class StopsBehindNeck(list[str]):
    """Notes of a run that is killed when it has learned two stages."""

    def append(self, text: str) -> None:
        super().append(text)
        if text.startswith("abc for plain: neck"):
            raise KilledError


def test_a_killed_learner_goes_on_to_the_same_file(recipe: Recipe, tmp_path: Path) -> None:
    learner = Abc(steps=2, batch=2, images=4)
    short = msgspec.structs.replace(recipe, learn=(learner,), targets=("plain",))
    whole, broken = Around(tmp_path / "whole"), Around(tmp_path / "broken")
    whole(short)
    broken.notes = StopsBehindNeck()
    with pytest.raises(KilledError):
        broken(short)
    assert "learn.plain.0.npz" in names(broken.folder)
    broken.notes = []
    broken(short)
    assert "learn.plain.0.npz" not in names(broken.folder)
    files = [file_hash(around.folder / "model.plain.onnx") for around in (whole, broken)]
    assert files[0] == files[1]
