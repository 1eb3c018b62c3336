import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from detq.cli.sources import CHECKPOINTS, read_source
from detq.graph.files import load_model
from tests.cli.calls import SIZE, Detq
from tests.pickles import dict_of, module, write_zip
from tests.tiny_dataset import TinyDataset

GOLDEN = Path(__file__).parent.parent / "golden"
OF_ULTRALYTICS = GOLDEN / "ultralytics_v6_stripped.pt"


@pytest.fixture(scope="module")
def checkpoints(checkpoint: Path) -> dict[str, Path]:
    return {"yolov6": checkpoint, "ultralytics": OF_ULTRALYTICS}


def exported(detq: Detq, source: Path, output: Path, *options: str) -> bytes:
    detq("export", source, "--size", SIZE, *options, "--output", output).done()
    return output.read_bytes()


@pytest.mark.parametrize("package", CHECKPOINTS)
def test_from_safetensors_comes_what_comes_from_the_checkpoint(
    detq: Detq, checkpoints: dict[str, Path], tmp_path: Path, package: str
) -> None:
    path = tmp_path / "x.safetensors"
    exported(detq, checkpoints[package], path, "--format", "safetensors")
    again = exported(detq, path, tmp_path / "again.st", "--format", "safetensors")
    assert again == path.read_bytes()
    for options in ([], ["--no-merge"]):
        wanted = exported(detq, checkpoints[package], tmp_path / "a.onnx", *options)
        assert exported(detq, path, tmp_path / "b.onnx", *options) == wanted


def test_branches_are_apart_unless_merging_is_asked_for(
    detq: Detq, checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    for options, norms in (([], True), (["--merge"], False)):
        exported(detq, checkpoint, path, "--format", "safetensors", *options)
        graph = read_source(path, (64, 96)).graph.graph
        assert any(node.op_type == "BatchNormalization" for node in graph) == norms


def test_half_precision_is_what_the_checkpoint_holds(
    detq: Detq, checkpoint: Path, tmp_path: Path
) -> None:
    whole, half = tmp_path / "x.safetensors", tmp_path / "half.safetensors"
    exported(detq, checkpoint, whole, "--format", "safetensors")
    exported(detq, checkpoint, half, "--format", "safetensors", "--half")
    assert half.stat().st_size < 0.75 * whole.stat().st_size
    first, second = (read_source(path, (64, 96)).graph.graph for path in (whole, half))
    assert list(first.initializers) == list(second.initializers)
    for name, value in first.initializers.items():
        other = second.initializers[name].const_value
        assert value.const_value is not None and other is not None
        np.testing.assert_array_equal(value.const_value.numpy(), other.numpy())


def test_half_precision_is_refused_for_onnx(detq: Detq, checkpoint: Path, tmp_path: Path) -> None:
    called = detq("export", checkpoint, "--half", "--output", tmp_path / "x.onnx")
    called.refused("--half: only for safetensors", "add --format safetensors")
    assert list(tmp_path.iterdir()) == []


def test_the_size_of_a_safetensors_file_is_its_own(detq: Detq, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    exported(detq, OF_ULTRALYTICS, path, "--format", "safetensors")
    called = detq("export", path, "--no-merge", "--output", tmp_path / "x.onnx").done()
    assert "64 x 96" in called.out
    called = detq("export", path, "--size", "64", "--output", tmp_path / "y.onnx")
    called.refused(f"{path}: was written for 64x96, not for 64x64", "give --size 64x96")


def test_every_command_takes_every_source(
    detq: Detq, pictures: TinyDataset, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="merging and calibrating run in torch")
    path = tmp_path / "x.safetensors"
    exported(detq, OF_ULTRALYTICS, path, "--format", "safetensors")
    for source in (OF_ULTRALYTICS, path):
        called = detq("inspect", source, "--size", SIZE).done()
        assert "Ultralytics yolov6n: ultralytics_v6_stripped.pt" in called.out
        assert "3 classes: crane, heron, stork" in called.out
        folder = tmp_path / f"int8{source.suffix}"
        detq("quantize", source, "--data", pictures.train, "--size", SIZE, "--count", "2",
             "--output", folder, "--quiet").done()  # fmt: skip
        assert (folder / "model.plain.onnx").is_file()
    first, second = (load_model(tmp_path / f"int8{s}" / "model.plain.onnx").graph
                     for s in (".pt", ".safetensors"))  # fmt: skip
    assert list(first.initializers) == list(second.initializers)
    for name, value in first.initializers.items():
        other = second.initializers[name].const_value
        assert value.const_value is not None and other is not None
        assert value.const_value.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    ("package", "merge"), [("yolov6", "--merge"), ("ultralytics", "--no-merge")]
)
def test_names_and_numbers_are_the_same_in_every_process(
    checkpoints: dict[str, Path], tmp_path: Path, package: str, merge: str
) -> None:
    files = []
    for seed in ("1", "2"):
        files.append(tmp_path / f"{seed}.onnx")
        words = [sys.executable, "-m", "detq", "export", str(checkpoints[package])]
        options = [merge, "--size", SIZE, "--output", str(files[-1]), "--quiet"]
        subprocess.run(
            [*words, *options], env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
    first, second = (list(load_model(file).graph.initializers) for file in files)
    assert first == second and len(first) > 50
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_network_of_another_kind_is_told(detq: Detq, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.pt", dict_of({"model": module("torch.nn.modules.conv.Conv2d")}))
    called = detq("export", path, "--output", tmp_path / "x.onnx")
    called.refused(f"{path}: holds a torch.nn.modules.conv.Conv2d, which is no known detector")
    path = write_zip(tmp_path / "y.pt", dict_of({"model": module("models.yolo.Model")}))
    called = detq("export", path, "--output", tmp_path / "x.onnx")
    called.refused("refers to 'models.yolo.Model'", "nothing was run")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x02" + bytes(7) + b"{}"])
def test_what_is_no_network_is_told(detq: Detq, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    detq("export", path, "--output", tmp_path / "x.onnx").refused(f"{path}: ")


def test_a_place_inside_is_told_with_the_file(detq: Detq, tmp_path: Path) -> None:
    kind, path = b"ultralytics.nn.modules.block\nSPPF\n", tmp_path / "x.pt"
    with zipfile.ZipFile(OF_ULTRALYTICS) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(kind, kind.replace(b"SPPF", b"SPPX")))
    called = detq("export", path, "--size", SIZE, "--output", tmp_path / "x.onnx")
    called.refused(f"{path}: model.9: there is no builder for ", "block.SPPX")
