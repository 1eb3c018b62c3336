import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.calls import Called, Detq, Tiny, tree

pytest.importorskip("torch", reason="quantizing runs the network in torch")

RAY = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def grid(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grid")
    base = {
        "checkpoint": str(tiny.checkpoint),
        "size": [64, 96],
        "calibration": {"data": str(tiny.data.train), "count": 8, "batch": 2},
        "targets": ["plain"],
        "range": {"method": "minmax"},
        "channel_wise": None,
        "learn": [],
        "evaluation": {"data": str(tiny.data.yolo), "backends": ["torch"], "threads": 1},
    }
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    recipes = {"minmax": {}, "mse": {"range": {"method": "mse"}}}
    (folder / "grid.yaml").write_text(yaml.safe_dump({"base": "base.yaml", "recipes": recipes}))
    return folder / "grid.yaml"


def lasting(folder: Path) -> dict[str, str]:
    """What does not tell how long something took, or where the folder is."""
    timed = ("metrics", "steps", "manifest", "report", "done", "sweep", "detq.lock")
    return {
        name: content
        for name, content in tree(folder).items()
        if not name.split("/")[-1].startswith(timed) and "/steps/" not in name
    }


@pytest.fixture(scope="module")
def whole(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every cell in one go, by ``detq run``."""
    from detq.cli.chain import run_recipe
    from detq.cli.output import Output
    from detq.grid import read_grid

    folder = tmp_path_factory.mktemp("whole")
    for name, recipe in read_grid(grid).items():
        run_recipe(recipe, folder / name, Output(quiet=True))
    return folder


def figures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "sweep.json").read_text())
    return found


@pytest.mark.slow
def test_a_sweep_in_parts_leaves_what_runs_leave(
    detq: Detq, grid: Path, whole: Path, tmp_path: Path
) -> None:
    called = detq("sweep", grid, "--output", tmp_path / "out", "--shards", 2, "--jobs", 2).done()
    assert lasting(tmp_path / "out") == lasting(whole)
    assert "minmax: running" in called.err and "mse: done" in called.err
    for name, found in figures(tmp_path / "out").items():
        metrics = json.loads((whole / name / "metrics.json").read_text())
        for place, one in metrics["accuracy"].items():
            assert found["accuracy"][place]["AP"] == one["AP"]

    (tmp_path / "out/mse/done.json").unlink()  # as if it had been cut off
    again = detq("sweep", grid, "--output", tmp_path / "out", "--json").done()
    assert json.loads(again.out)["kept"] == 1
    assert "minmax" not in again.err
    detq("sweep", grid, "--output", tmp_path / "out", "--quiet").done()
    assert lasting(tmp_path / "out") == lasting(whole)


@pytest.mark.slow
def test_a_cell_that_fails_leaves_the_others(
    detq: Detq, grid: Path, tiny: Tiny, tmp_path: Path
) -> None:
    shutil.copy(grid.parent / "base.yaml", tmp_path / "base.yaml")
    (tmp_path / "x.pt").write_bytes(b"no checkpoint")
    text = {"base": "base.yaml", "checkpoints": {"good": str(tiny.checkpoint), "bad": "x.pt"}}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(text))
    called: Called = detq("sweep", tmp_path / "grid.yaml", "--output", tmp_path / "out", "--json")
    assert called.code == 1
    cells = json.loads(called.out)["cells"]
    assert "accuracy" in cells["good.base"]
    assert "x.pt" in cells["bad.base"]["failed"]
    assert "\n" not in cells["bad.base"]["failed"]
    assert "Traceback" not in called.err


def test_a_grid_with_an_unknown_key(detq: Detq, grid: Path, tmp_path: Path) -> None:
    shutil.copy(grid.parent / "base.yaml", tmp_path / "base.yaml")
    wrong = tmp_path / "grid.yaml"
    wrong.write_text("base: base.yaml\nrecipes: {a: {calibration: {cuont: 3}}}\n")
    called = detq("sweep", wrong, "--output", tmp_path / "out")
    called.refused("$.recipes.a.calibration", "unknown field `cuont`", "`count`")
    detq("sweep", tmp_path / "no.yaml", "--output", tmp_path).refused("no such grid")


@pytest.fixture
def cluster() -> Iterator[None]:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'detq[ray]'")
    from tests.ray_cluster import ray_cluster

    with ray_cluster(3):
        yield


class TestOnRay:
    pytestmark = RAY

    def test_a_worker_killed_midway_changes_no_byte(
        self, detq: Detq, grid: Path, whole: Path, tmp_path: Path, cluster: None
    ) -> None:
        killed: list[str] = []
        over = threading.Event()
        killer = threading.Thread(target=kill_one_worker, args=(killed, over))
        killer.start()
        words = ["--output", tmp_path / "out", "--shards", 2, "--jobs", 2, "--ray", "auto"]
        called = detq("sweep", grid, *words)
        over.set()
        killer.join()
        assert killed, "no worker was caught at work"
        assert lasting(tmp_path / "out") == lasting(called.done() and whole)


def kill_one_worker(killed: list[str], over: threading.Event) -> None:
    """The first process of this test's cluster that works on a cell's task."""
    while not killed and not over.is_set():
        for pid, title in _workers():
            if title.startswith(("ray::minmax", "ray::mse", "ray::calibrate")):
                time.sleep(0.5)  # so that it is in the middle
                os.kill(pid, signal.SIGKILL)
                killed.append(title)
                return
        time.sleep(0.05)


def _workers() -> Iterator[tuple[int, str]]:
    """Ray's workers whose chain of parents leads here."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if title.startswith("ray::") and os.getpid() in _parents(int(folder.name)):
                yield int(folder.name), title


def _parents(pid: int) -> set[int]:
    found: set[int] = set()
    while pid > 1 and pid not in found:
        found.add(pid)
        stat = Path(f"/proc/{pid}/stat").read_text()
        pid = int(stat.rpartition(")")[2].split()[1])
    return found
