from pathlib import Path

import pytest

from detq.learn import LEARNERS, Learned, Task
from detq.recipe import Abc
from tests.learn.tasks import as_bytes, task

OPTIONS = Abc(steps=4, batch=2, rounding=True)


class KilledError(Exception):
    pass


def run(folder: Path, key: str = "a", kill_at: int | None = None) -> tuple[Learned, list[int]]:
    told: list[int] = []

    def on_step(done: int, total: int) -> None:
        if done == kill_at:
            raise KilledError
        told.append(done)

    given: Task = task("tiny_detector", on_step=on_step, resume=folder / "learn.npz", key=key)
    return LEARNERS["abc"](given, OPTIONS), told


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Learned, list[int]]:
    return run(tmp_path_factory.mktemp("whole"))


def kill(folder: Path, whole: list[int]) -> None:
    with pytest.raises(KilledError):
        run(folder, kill_at=whole[-6])  # in the head, behind two whole stages


def test_a_killed_run_goes_on_to_the_same_bytes(
    tmp_path: Path, whole: tuple[Learned, list[int]]
) -> None:
    kill(tmp_path, whole[1])
    again, told = run(tmp_path)
    assert as_bytes(again.model) == as_bytes(whole[0].model)
    assert again.losses == whole[0].losses
    assert len(told) < len(whole[1]) / 2  # whole units at a time are told


def test_what_was_learned_of_something_else_is_not_used(
    tmp_path: Path, whole: tuple[Learned, list[int]]
) -> None:
    kill(tmp_path, whole[1])
    _, told = run(tmp_path, key="b")
    assert told == whole[1]


def test_stages_are_told_in_a_line_each() -> None:
    lines: list[str] = []
    LEARNERS["abc"](task("tiny_detector", note=lines.append), OPTIONS)
    assert [line.split(":")[0] for line in lines] == ["backbone", "neck", "head"]
    assert all(" loss " in line and "units" in line for line in lines)
