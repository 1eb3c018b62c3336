"""No command writes over a file that it reads."""

import shutil
from pathlib import Path

import pytest

from tests.cli.calls import Detq, Tiny, tree

WORDS = {
    "export": ["c.pt", "--output", "c.pt"],
    "import-cache": ["f.onnx", "f.cache", "--output", "f.onnx"],
    "eval": ["f.onnx", "--data", "v.json", "--detections", "v.json"],
    "bench": ["f.onnx", "--profile", "f.onnx"],
    "build": ["f.onnx", "--target", "trt-rtx", "--output", "f.engine", "--beside", "f.engine"],
    "predict": ["f.onnx", "detections.json", "--output", "."],
    "gate": ["run", "--min-ap", "0", "--junit", "run/metrics.json"],
}
OTHERS = {
    "names": ["export", "c.pt", "--names", "data.yaml", "--output", "data.yaml"],
    "cache": ["import-cache", "f.onnx", "f.cache", "--output", "f.cache"],
    "another way": ["export", "c.pt", "--output", "run/../c.pt"],
    "through a link": ["export", "link.pt", "--output", "c.pt"],
    "model": ["eval", "f.onnx", "--data", "v.json", "--detections", "f.onnx"],
}
CALLS = {name: [name, *words] for name, words in WORDS.items()} | OTHERS


@pytest.mark.parametrize("call", CALLS)
def test_what_is_read_is_not_written_over(detq: Detq, from_folder: Path, call: str) -> None:
    (from_folder / "run").mkdir()
    for name in ("c.pt", "f.onnx", "f.cache", "f.engine", "v.json", "detections.json", "data.yaml"):
        (from_folder / name).write_text("mine")
    shutil.copy("v.json", "run/metrics.json")
    (from_folder / "link.pt").symlink_to("c.pt")
    before = tree(from_folder)
    detq(*CALLS[call]).refused("would overwrite what is read", "another name")
    assert tree(from_folder) == before


def test_a_source_in_its_own_run_folder(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    shutil.copy(tiny.model("float"), tmp_path / "float.onnx")
    before = tree(tmp_path)
    detq(
        "quantize", tmp_path / "float.onnx", "--data", tiny.data.train, "--output", tmp_path
    ).refused("float.onnx: lies in the run folder", "another --output")
    assert tree(tmp_path) == before
