import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.calls import Detq, Tiny, tree

pytest.importorskip("torch", reason="quantizing runs the network in torch")

STEPS = ["float", "truth", "calibrate", "channel_wise", "quantize.plain",
         "evaluate.float.torch", "evaluate.plain.torch", "layers", "gallery"]  # fmt: skip

# A file that is about to become whole → the step that goes on.
FILES = {
    "float.onnx": "float",
    "truth.json": "truth",
    "stats.npz": "calibrate",
    "calibrate.json": "calibrate",  # the record of the step
    "even.onnx": "channel_wise",
    "model.plain.onnx": "quantize.plain",
    "detections.float.torch.json": "evaluate.float.torch",
    "metrics.plain.torch.json": "evaluate.plain.torch",
    "layers.json": "layers",
    "gallery.json": "gallery",
    "metrics.json": "",
    "report.html": "",
}


@pytest.fixture(scope="session")
def recipe(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    content = {
        "checkpoint": str(tiny.checkpoint),
        "size": [64, 96],
        "calibration": {"data": str(tiny.data.train), "count": 4},
        "targets": ["plain"],
        "evaluation": {"data": str(tiny.data.coco), "backends": ["torch"], "threads": 1},
    }
    path.write_text(yaml.safe_dump(content))
    return path


def lasting(folder: Path) -> dict[str, str]:
    """What does not tell how long something took."""
    timed = ("learned.", "metrics.", "steps/", "report.html")
    return {name: content for name, content in tree(folder).items() if not name.startswith(timed)}


@pytest.fixture(scope="session")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    from detq.cli.app import main

    output = tmp_path_factory.mktemp("whole") / "run"
    assert main(["run", str(recipe), "--output", str(output), "--quiet"]) == 0
    return lasting(output)


@pytest.mark.parametrize("name", FILES)
def test_an_interrupted_run_goes_on_where_it_was(
    detq: Detq,
    recipe: Path,
    whole: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    replace = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        if target.name == name:
            raise KeyboardInterrupt
        return replace(self, target)

    words = ["run", recipe, "--output", tmp_path / "run"]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        detq(*words).refused("interrupted", "the same command goes on from here")
    left = tree(tmp_path / "run")
    assert name not in left
    assert not any(".part-" in file for file in left)
    assert left.items() >= {k: v for k, v in whole.items() if k in left}.items()

    found = json.loads(detq(*words, "--json").done().out)
    done_before = STEPS.index(FILES[name]) if FILES[name] else len(STEPS)
    assert found["steps"] == STEPS
    assert found["reused"] == STEPS[:done_before]
    assert lasting(tmp_path / "run") == whole


def test_old_figures_do_not_outlive_their_models(
    detq: Detq, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", recipe, "--output", tmp_path / "run"]
    detq(*words).done()
    assert {"metrics.json", "report.html"} <= set(tree(tmp_path / "run"))

    def interrupted(self: Path, target: Path) -> Path:
        if target.name == "stats.npz":
            raise KeyboardInterrupt
        return replace(self, target)

    replace = Path.replace
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        detq(*words, "--count", 3).refused("interrupted")
    assert {"metrics.json", "report.html"}.isdisjoint(tree(tmp_path / "run"))


def listens_to_ctrl_c() -> None:
    """Tests started in the background have it ignored, and so would what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("step", ["calibrate", "bench"])
def test_ctrl_c_on_a_terminal(recipe: Path, tmp_path: Path, step: str) -> None:
    content = yaml.safe_load(recipe.read_text())
    content |= {"evaluation": None, "bench": {"backend": "onnxruntime", "threads": 1}}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    words = [sys.executable, "-m", "detq", "run", str(path), "--output", str(tmp_path / "run")]
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=listens_to_ctrl_c,
    ) as process:
        assert process.stderr is not None and process.stdout is not None
        for line in process.stderr:
            if f"] {step}: " in line:
                break
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the workers too
        last = process.stderr.read().splitlines()
        assert process.wait(30) == 2
        assert last == ["detq: interrupted (the same command goes on from here)"]
        assert process.stdout.read() == ""
    with pytest.raises(ProcessLookupError):  # nobody was left behind
        os.killpg(process.pid, 0)
    assert not list((tmp_path / "run").rglob(".part-*"))


def test_a_command_without_a_run_folder_only_stops(
    detq: Detq, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    path = tmp_path / "m.onnx"
    last = detq("export", tiny.checkpoint, "--size", 64, "--output", path).refused("interrupted")
    assert last == "detq: interrupted"
    assert list(tmp_path.iterdir()) == []
