import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="statistics are taken in torch")

from detq.calibration import drawn_images, observe_images
from detq.data.images import ImageRef
from detq.placement import candidates
from detq.recipe import Calibration
from detq.shards import Shards, split
from detq.stats import CalibrationStats, save_stats
from detq.tasks.drive import do_all
from detq.tasks.local import LocalWorkers
from detq.tasks.task import Task
from tests.tiny_dataset import SIZE, tiny_dataset
from tests.zoo import tiny_detector

MODEL = tiny_detector(size=SIZE)


def here(tasks: Sequence[Task]) -> list[Any]:
    return [task() for task in tasks]


def elsewhere(tasks: Sequence[Task]) -> list[Any]:
    with LocalWorkers() as workers:
        return do_all(tasks, workers, at_once=2)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("pictures"), count=11).train


def as_bytes(stats: CalibrationStats, folder: Path) -> bytes:
    save_stats(stats, folder / "stats.npz")
    return (folder / "stats.npz").read_bytes()


def both(
    images: Path, folder: Path, count: int, do: Any = here, batch: int = 2
) -> tuple[tuple[CalibrationStats, object], tuple[CalibrationStats, object]]:
    options = Calibration(data=images, count=20, batch=batch)
    refs, values = drawn_images(options), candidates(MODEL)
    whole = observe_images(MODEL, values, refs, options, lambda done: None)
    done: list[int] = []
    parts = Shards(count, do, folder).observe(MODEL, values, refs, options, done.append)
    assert done == [len(refs)]
    return whole, parts


@pytest.mark.parametrize("count", [1, 2, 3, 99])
def test_parts_give_the_bits_of_the_whole(images: Path, tmp_path: Path, count: int) -> None:
    (stats, used), (in_parts, used_in_parts) = both(images, tmp_path, count)
    assert as_bytes(in_parts, tmp_path) == as_bytes(stats, tmp_path)
    assert used_in_parts == used
    assert [path.name for path in tmp_path.iterdir()] == ["stats.npz"]


def test_parts_in_other_processes_too(images: Path, tmp_path: Path) -> None:
    (stats, used), (in_parts, used_in_parts) = both(images, tmp_path, 2, elsewhere)
    assert as_bytes(in_parts, tmp_path) == as_bytes(stats, tmp_path)
    assert used_in_parts == used


def test_an_image_that_cannot_be_read_shifts_no_batch(images: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(images, tmp_path / "images"))
    (folder / "004.jpg").write_bytes(b"no picture")
    (stats, used), (in_parts, used_in_parts) = both(folder, tmp_path, 3, batch=4)
    assert as_bytes(in_parts, tmp_path) == as_bytes(stats, tmp_path)
    assert used_in_parts == used


@pytest.mark.parametrize(
    ("images", "count", "batch", "wanted"),
    [
        (10, 2, 1, [5, 5]), (10, 3, 2, [2, 4, 4]), (5, 2, 4, [4, 1]), (3, 9, 1, [1, 1, 1]),
        (3, 9, 8, [3]), (1, 1, 1, [1]),
    ],
)  # fmt: skip
def test_parts_are_whole_batches(images: int, count: int, batch: int, wanted: list[int]) -> None:
    refs = [ImageRef(n, Path()) for n in range(images)]
    parts = split(refs, count, batch)
    assert [len(part) for part in parts] == wanted
    assert [ref for part in parts for ref in part] == refs
