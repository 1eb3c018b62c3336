import shlex
import subprocess
from pathlib import Path

import pytest

from detq.cli.app import main
from tests.cli.calls import DEMO, SIZE, Called, Detq, Tiny
from tests.conftest import ROOT
from tests.tiny_dataset import TinyDataset, tiny_dataset


@pytest.fixture
def detq(capfd: pytest.CaptureFixture[str]) -> Detq:
    def call(*words: object) -> Called:
        capfd.readouterr()
        code = main([str(word) for word in words])
        out, err = capfd.readouterr()
        return Called(code, out, err)

    return call


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> TinyDataset:
    return tiny_dataset(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="a checkpoint is made with torch")
    from tests.tiny_checkpoint import tiny_checkpoint

    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "best_ckpt.pt")


@pytest.fixture(scope="session")
def tiny(checkpoint: Path, pictures: TinyDataset, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    models = tmp_path_factory.mktemp("models") / "int8"
    options = ["--size", SIZE, "--count", "8", "--output", str(models), "--quiet"]
    targets = ["--target", "onnxruntime", "--target", "openvino"]
    words = ["quantize", str(checkpoint), "--data", str(pictures.train), *options, *targets]
    assert main(words) == 0
    return Tiny(checkpoint, pictures, models)


@pytest.fixture
def from_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def demo_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command behind ``make demo`` leaves, on a few pictures."""
    pytest.importorskip("torch", reason="quantizing runs the network in torch")
    shown = subprocess.run(
        ["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (line,) = [line for line in shown.stdout.splitlines() if "/detq demo " in line]
    words = shlex.split(line)[1:]
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*words, *DEMO, "--quiet"]) == 0
    return folder / words[words.index("--output") + 1]
