"""On devices there is no torch: an ONNX file is evaluated, timed and used without it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from detq.dialects import write_float
from detq.graph.files import save_model
from tests.cli.calls import Called, tree
from tests.detq_deploy.trt.rtx_files import needs_rtx, tiny
from tests.tiny_dataset import SIZE, TinyDataset
from tests.zoo import tiny_detector

BLOCKED = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, NoTorch())
from detq.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


def without_torch(*words: object) -> Called:
    command = [sys.executable, "-c", BLOCKED, *(str(word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Called(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    save_model(write_float(tiny_detector(size=SIZE)), path)
    return path


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_eval(model: Path, pictures: TinyDataset, backend: str) -> None:
    words = ["eval", model, "--data", pictures.coco, "--backend", backend, "--json"]
    found = json.loads(without_torch(*words).done().out)
    assert 0 <= found["AP"] <= 1
    assert found["images"] == 8


def test_bench(model: Path) -> None:
    words = ["bench", model, "--rounds", 1, "--backend", "openvino", "--backend", "onnxruntime"]
    found = json.loads(without_torch(*words, "--json").done().out)
    assert [timing["backend"] for timing in found["timings"]] == ["openvino", "onnxruntime"]


def test_predict(model: Path, pictures: TinyDataset, tmp_path: Path) -> None:
    words = ["predict", model, pictures.val, "--confidence", 0, "--output", tmp_path / "seen"]
    without_torch(*words).done()
    assert len(tree(tmp_path / "seen")) == 9


def test_compare_inspect_and_doctor(model: Path, pictures: TinyDataset) -> None:
    words = ["compare", model, "--backend", "onnxruntime", "--backend", "openvino", "--count", 2]
    assert "outputs scores" in without_torch(*words, "--data", pictures.coco).done().out
    assert "tiny at 64 x 96" in without_torch("inspect", model).done().out
    doctor = without_torch("doctor").done().out
    assert " missing " in doctor and "\nfor torch: pip install torch\n" in doctor


def test_what_needs_torch_says_so(model: Path, pictures: TinyDataset, tmp_path: Path) -> None:
    words = ["eval", model, "--data", pictures.coco, "--backend", "torch"]
    without_torch(*words).refused("PyTorch is not installed", "pip install torch")


@pytest.mark.parametrize("command", ["export", "quantize", "inspect"])
def test_a_checkpoint_needs_torch_and_says_so(
    checkpoint: Path, pictures: TinyDataset, tmp_path: Path, command: str
) -> None:
    words = {
        "export": ["--output", tmp_path / "m.onnx"],
        "quantize": ["--data", pictures.train, "--output", tmp_path / "out"],
        "inspect": [],
    }[command]
    called = without_torch(command, checkpoint, *words)
    called.refused("PyTorch is not installed", "pip install torch")
    assert set(tree(tmp_path)) <= {"out/detq.lock", "out/manifest.json"}


def test_writing_the_branches_apart_needs_none(checkpoint: Path, tmp_path: Path) -> None:
    words = ["export", checkpoint, "--size", 64, "--no-merge", "--output", tmp_path / "m.onnx"]
    without_torch(*words).done()
    assert (tmp_path / "m.onnx").is_file()


@needs_rtx
def test_build(tmp_path: Path) -> None:
    engine = tmp_path / "m.engine"
    without_torch("build", tiny(tmp_path), "--output", engine).done()
    assert engine.stat().st_size > 1000
