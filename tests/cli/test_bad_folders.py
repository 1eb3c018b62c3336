"""Disks that are full, folders that are taken."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from detq.run_dir import RunDir
from tests.cli.calls import SIZE, Called, Detq, Tiny, tree

FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from detq.cli.app import main
sys.exit(main(sys.argv[2:]))
"""


def on_a_full_disk(size: int, *words: object) -> Called:
    """Files cannot grow beyond ``size`` bytes."""
    command = [sys.executable, "-c", FULL, str(size), *(str(word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Called(done.returncode, done.stdout, done.stderr)


def test_quantize(tiny: Tiny, tmp_path: Path) -> None:
    words = ["quantize", tiny.checkpoint, "--data", tiny.data.train, "--count", 2]
    called = on_a_full_disk(20_000, *words, "--size", SIZE, "--output", tmp_path / "out")
    called.refused("source.onnx: cannot be written: File too large", "has room")
    assert set(tree(tmp_path)) == {"out/detq.lock", "out/manifest.json"}


def test_export(tiny: Tiny, tmp_path: Path) -> None:
    words = ["export", tiny.checkpoint, "--size", SIZE, "--output", tmp_path / "m.onnx"]
    on_a_full_disk(100_000, *words).refused("m.onnx: cannot be written: File too large")
    assert tree(tmp_path) == {}


def test_predict(tiny: Tiny, tmp_path: Path) -> None:
    words = ["predict", tiny.model("float"), tiny.data.val, "--output", tmp_path / "seen"]
    on_a_full_disk(2000, *words).refused(".jpg: cannot be written: File too large")
    assert tree(tmp_path) == {}


def test_detections_of_eval(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    words = ["eval", tiny.model("float"), "--data", tiny.data.coco, "--confidence", 0]
    boxes = tmp_path / "boxes.json"
    detq(*words, "--detections", boxes).done()
    size = boxes.stat().st_size
    boxes.unlink()
    called = on_a_full_disk(2000, *words, "--detections", boxes)
    called.refused("detections cannot be kept: File too large", "TMPDIR")
    # Room for what is kept meanwhile, a third of the file, but not for the file.
    called = on_a_full_disk(size // 2, *words, "--detections", boxes)
    called.refused("boxes.json: cannot be written: File too large")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    "words", [["eval", "--data", "v.json", "--detections"], ["bench", "--profile"]]
)
def test_what_is_written_last_is_looked_at_first(
    detq: Detq, from_folder: Path, words: list[str]
) -> None:
    (from_folder / "v.json").write_text("file")
    command, *options = words  # the model is not even there
    called = detq(command, "m.onnx", *options, "v.json/deep/x.json")
    called.refused("v.json/deep/x.json: cannot be written: ", "choose a folder")


def test_a_folder_that_another_run_holds(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    words = ["quantize", tiny.checkpoint, "--data", tiny.data.train, "--output", tmp_path / "out"]
    with RunDir(tmp_path / "out"):
        detq(*words).refused(f"is in use by process {os.getpid()}", "give another folder")


def test_a_folder_with_other_things(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    shutil.copy(tiny.data.val / "000.jpg", tmp_path)
    before = tree(tmp_path)
    words = ["quantize", tiny.checkpoint, "--data", tiny.data.train, "--output", tmp_path]
    detq(*words).refused("is neither empty nor the folder of a run", "give a new folder")
    assert tree(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_is_not_writable(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    words = ["export", tiny.checkpoint, "--size", SIZE, "--output", tmp_path / "m.onnx"]
    detq(*words).refused("m.onnx: cannot be written: Permission denied", "writable")
    tmp_path.chmod(0o700)
    assert tree(tmp_path) == {}
