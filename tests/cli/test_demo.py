import json
import subprocess
import sys
from pathlib import Path

import pytest

from detq_eval.demo_set.files import DETECTOR
from detq_eval.demo_set.shapes import NAMES
from tests.cli.calls import DEMO, Called, Detq

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from detq.cli.app import main
sys.exit(main(["demo", "--output", sys.argv[1]]))
"""
LARGEST = 2_000_000  # bytes of the bundled detector


@pytest.fixture
def again(detq: Detq, demo_output: Path) -> Called:
    return detq("demo", "--output", demo_output, *DEMO, "--json").done()


def test_it_leaves_pictures_two_runs_and_a_report(demo_output: Path) -> None:
    pictures = demo_output / "pictures"
    assert len(list((pictures / "evaluation").iterdir())) == 6
    assert len(list((pictures / "calibration").iterdir())) == 4
    assert "<html" in (demo_output / "default" / "report.html").read_text()
    truth = json.loads((pictures / "evaluation.json").read_text())
    assert [category["name"] for category in truth["categories"]] == list(NAMES)
    for run in ("minmax", "default"):
        files = {path.name for path in (demo_output / run).glob("*.onnx")}
        assert files >= {"float.onnx", "model.openvino.onnx", "model.onnxruntime.onnx"}


def test_its_figures_are_those_of_its_runs(demo_output: Path, again: Called) -> None:
    told = json.loads(again.out)
    assert set(told["accuracy"]) == {"openvino", "onnxruntime"}
    for engine, row in told["accuracy"].items():
        for run in ("minmax", "default"):
            kept = json.loads((demo_output / run / "metrics.json").read_text())["accuracy"]
            assert row[run] == kept[f"{engine} {engine}"]["AP"]
            assert row["float"] == kept[f"float {engine}"]["AP"]
            assert 0.4 < row[run] <= 1  # six pictures say little, but not nothing
    assert told["speed"]["timings"]
    assert told["tensorrt"]["built"] or "pip install" in told["tensorrt"]["why"]


def test_the_same_call_goes_on_from_what_is_there(again: Called) -> None:
    steps = [line for line in again.err.splitlines() if line.startswith("[")]
    assert steps
    assert all(line.endswith(": kept") for line in steps), again.err


def test_the_runs_differ_in_the_recipe_alone(demo_output: Path) -> None:
    recipes = [
        json.loads((demo_output / run / "manifest.json").read_text())["recipe"]
        for run in ("minmax", "default")
    ]
    differ = {key for key in recipes[0] if recipes[0][key] != recipes[1][key]}
    assert differ == {"range", "channel_wise", "learn", "bench"}


def test_the_detector_is_small_and_lies_in_the_package() -> None:
    assert DETECTOR.stat().st_size < LARGEST
    assert DETECTOR.parent.name == "demo_set"


def test_without_torch_it_says_so_in_one_line(tmp_path: Path) -> None:
    words = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "PyTorch is not installed" in done.stderr
    assert not (tmp_path / "out").exists()
