import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from detq.detection import Detector
from detq.dialects import write_float
from detq.errors import InputError
from detq.graph.files import save_model
from detq.plan import placement_as_json
from detq.stats import save_stats
from detq_eval.report.page import comparison_html, report_html
from detq_eval.report.records import read_run
from tests.detq_eval.report.made_runs import whole
from tests.zoo import tiny_detector


def built(value: Any) -> Any:
    return msgspec.to_builtins(value)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with every record."""
    folder = tmp_path_factory.mktemp("runs") / "a run"
    folder.mkdir()
    run = whole()
    assert run.placement is not None and run.stats is not None
    for name, content in {
        "metrics": built(run.metrics),
        "manifest": built(run.manifest),
        "layers": built(run.layers),
        "calibration": built(run.calibration),
        "gallery": built(run.gallery),
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "placement.openvino.json").write_bytes(placement_as_json(run.placement))
    save_stats(run.stats, folder / "stats.npz")
    save_model(write_float(tiny_detector()), folder / "float.onnx")
    (folder / "model.openvino.onnx").write_bytes(b"1234")
    (folder / "detq.lock").write_text("")
    (folder / "steps").mkdir()
    (folder / "steps/float.json").write_text(json.dumps({"seconds": 2.5, "key": "x"}))
    return folder


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    return shutil.copytree(kept, tmp_path / "a run")


def test_what_is_in_the_folder_is_read(folder: Path) -> None:
    run, made = read_run(folder), whole()
    assert run.name == "a run"
    assert run.metrics == made.metrics
    assert run.manifest == made.manifest
    assert (run.layers, run.placement) == (made.layers, made.placement)
    assert (run.gallery, run.calibration) == (made.gallery, made.calibration)
    assert run.sizes["openvino"] == 4
    assert run.seconds == {"float": 2.5}
    assert isinstance(run.detector, Detector) and run.detector.names == ("a", "b", "c")
    assert run.stats is not None and made.stats is not None
    seen, expected = (stats.tensors["images"].histogram for stats in (run.stats, made.stats))
    np.testing.assert_array_equal(seen.positive, expected.positive)
    assert report_html(folder) == report_html(folder)


@pytest.mark.parametrize(
    "missing",
    ["layers.json", "calibration.json", "gallery.json", "placement.openvino.json", "stats.npz",
     "model.openvino.onnx", "steps/float.json"],
)  # fmt: skip
def test_a_part_may_be_missing(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    assert "a run" in report_html(folder)
    assert "2 runs side by side" in comparison_html([folder, folder])


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not the folder of a run \(give the --output"):
        read_run(tmp_path)
    with pytest.raises(InputError, match="is not the folder of a run"):
        read_run(tmp_path / "none")


def test_a_run_that_is_not_finished(folder: Path) -> None:
    (folder / "metrics.json").unlink()
    with pytest.raises(InputError, match="holds a run that is not finished"):
        read_run(folder)


@pytest.mark.parametrize("name", ["metrics.json", "layers.json", "gallery.json", "manifest.json"])
def test_records_of_another_version(folder: Path, name: str) -> None:
    content = json.loads((folder / name).read_text())
    del content[next(iter(content))]
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"{name}: cannot be read as a record of this detq: Obj"):
        read_run(folder)


def test_a_manifest_that_is_gone(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(InputError, match="with the same recipe and folder makes what is missing"):
        read_run(folder)
