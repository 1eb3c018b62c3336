"""The trainer on a COCO file, from the command line's words to a checkpoint that detq takes."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the trainer runs in torch")

from detq.cli.app import main
from tests.tiny_dataset import NAMES, TinyDataset, tiny_dataset

SMALL = ["--size", "64", "--batch", "4", "--every", "2", "--backbone", "1", "1", "1", "1"]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> TinyDataset:
    return tiny_dataset(tmp_path_factory.mktemp("coco"))


def train(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.train", *map(str, words), "--device", "cpu"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_coco_file_becomes_a_checkpoint(
    data: TinyDataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """More samples than there are images, with and without mosaics."""
    made = tmp_path / "ckpt.pt"
    where = ["--data", data.coco, "--images", data.val]
    done = train(*where, "--output", made, "--count", 24, *SMALL, "--neck", 1, "--threads", 1)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    losses = re.findall(r"class loss ([\d.]+), box loss ([\d.]+)", done.stdout)
    assert len(losses) == 3
    assert all(0 < float(loss) < 1e3 for pair in losses for loss in pair)
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt.pt"]
    out = tmp_path / "float.onnx"
    assert main(["export", str(made), "--size", "64", "--output", str(out)]) == 0
    assert main(["inspect", str(made), "--size", "64"]) == 0
    told = capfd.readouterr().out
    assert f"3 classes: {', '.join(NAMES)}\n" in told
    assert "strides 8, 16, 32" in told


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--data", "none.json"], "none.json: "),
        (["--batch", "5", "--processes", "2"], "--batch: 2 processes cannot share 5 images"),
    ],
)
def test_what_cannot_be_trained_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], text: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--output", str(tmp_path / "ckpt.pt"), *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("tools.train", run_name="__main__")
    told = str(ended.value)
    assert told.startswith(f"train: {text}")
    assert "\n" not in told
    assert list(tmp_path.iterdir()) == []
