import json
import shutil
from pathlib import Path

import pytest
import yaml

from detq.cli.app import main
from tests.cli.calls import Detq, Tiny, tree

pytest.importorskip("torch", reason="quantizing runs the network in torch")


@pytest.fixture(scope="module")
def finished(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    recipe = {
        "checkpoint": str(tiny.checkpoint),
        "size": [64, 96],
        "calibration": {"data": str(tiny.data.train), "count": 6},
        "targets": ["plain", "onnxruntime"],
        "evaluation": {
            "data": str(tiny.data.coco), "backends": ["torch", "onnxruntime"], "threads": 1,
        },
        "bench": {"backend": "onnxruntime", "rounds": 1, "threads": 1},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    words = ["run", str(folder / "recipe.yaml"), "--output", str(folder / "run"), "--quiet"]
    assert main(words) == 0
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def test_a_run_ends_with_its_page_and_the_figures_in_it_are_its_own(finished: Path) -> None:
    html = (finished / "report.html").read_text()
    figures = json.loads((finished / "metrics.json").read_text())
    assert figures["subject"] == {"label": "onnxruntime", "backend": "onnxruntime"}
    for found in figures["accuracy"].values():
        assert f"{100 * found['AP']:.2f}" in html
        assert f"{100 * found['AP50']:.2f}" in html
    timing = figures["speed"]["timings"]["onnxruntime"]
    assert f"{timing['wall_ms']['median']:.2f}" in html
    assert f"{timing['speedup']['median']:.2f}" in html
    assert 'class="columns"' in html
    layers = json.loads((finished / "layers.json").read_text())
    assert (layers["target"], layers["images"], len(layers["layers"])) == ("onnxruntime", 4, 50)
    assert len(html) < 3_000_000


def test_the_page_again_from_the_folder_alone(detq: Detq, run: Path) -> None:
    before = tree(run)
    (run / "report.html").unlink()
    called = detq("report", run).done()
    assert called.out.startswith(f"{run}/report.html: 1 run, ")
    assert tree(run) == before


def test_somewhere_else_and_as_json(detq: Detq, run: Path, tmp_path: Path) -> None:
    before, page = tree(run), tmp_path / "pages/mine.html"
    found = json.loads(detq("report", run, "--output", page, "--json").done().out)
    assert found == {"report": str(page), "runs": [str(run)]}
    assert page.read_bytes() == (run / "report.html").read_bytes()
    assert tree(run) == before


def test_runs_side_by_side(detq: Detq, run: Path, from_folder: Path) -> None:
    called = detq("report", run, run).done()
    assert called.out.startswith("comparison.html: 2 runs, ")
    assert "2 runs side by side" in (from_folder / "comparison.html").read_text()


def test_what_is_no_finished_run(detq: Detq, run: Path, tmp_path: Path) -> None:
    detq("report", tmp_path / "none").refused("none: is not the folder of a run", "give the --out")
    detq("report", tmp_path).refused(f"{tmp_path}: is not the folder of a run")
    detq("report", run, tmp_path).refused(f"{tmp_path}: is not the folder of a run")
    figures = json.loads((run / "metrics.json").read_text())
    del figures["subject"]
    (run / "metrics.json").write_text(json.dumps(figures))
    detq("report", run).refused("metrics.json: cannot be read as a record of this detq", "detq run")
    (run / "metrics.json").unlink()
    detq("report", run).refused("run: holds a run that is not finished", "goes on with it")


def test_a_folder_where_the_page_should_go(detq: Detq, run: Path, tmp_path: Path) -> None:
    detq("report", run, "--output", tmp_path).refused(f"{tmp_path}: is a folder", "name of a file")
