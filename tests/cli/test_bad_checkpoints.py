import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.calls import Detq, Tiny, tree


class Command:
    """What runs a command when Python's own unpickler reads it."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (self.command,)


def hostile(path: Path, checkpoint: Path) -> None:
    trace = path.parent / "trace"
    with zipfile.ZipFile(path, "w") as archive:
        content = pickle.dumps({"model": Command(f"touch {trace}")}, protocol=2)
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", "little")


def cut(path: Path, checkpoint: Path) -> None:
    path.write_bytes(checkpoint.read_bytes()[:200_000])


def weights_only(path: Path, checkpoint: Path) -> None:
    import torch

    from tests.tiny_checkpoint import trained

    torch.save({"model": trained().state_dict()}, path)


def other_model(path: Path, checkpoint: Path) -> None:
    import torch

    torch.save({"model": torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())}, path)


def picture(path: Path, checkpoint: Path) -> None:
    path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(500) + b"\xff\xd9")


BAD: dict[str, tuple[Callable[[Path, Path], object], list[str]]] = {
    "hostile": (hostile, ["system'", "give a checkpoint"]),
    "cut": (cut, ["is a zip file that is cut short or damaged", "give a checkpoint"]),
    "empty": (lambda path, _: path.write_bytes(b""), ["is empty", "give a checkpoint"]),
    "picture": (picture, ["is not a torch file", "give a checkpoint"]),
    "weights": (weights_only, ["holds no whole model under ema or model", "weights alone"]),
    "other model": (other_model, ["Sequential", "give a checkpoint"]),
    "folder": (lambda path, _: path.mkdir(), ["is a folder", "give the path of a checkpoint"]),
}


@pytest.mark.parametrize("command", ["export", "quantize", "inspect"])
@pytest.mark.parametrize("kind", BAD)
def test_a_checkpoint_that_cannot_be_used(
    detq: Detq, tiny: Tiny, tmp_path: Path, kind: str, command: str
) -> None:
    make, texts = BAD[kind]
    (tmp_path / "in").mkdir()
    path, out = tmp_path / "in/x.pt", tmp_path / "out"
    make(path, tiny.checkpoint)
    before = tree(tmp_path)
    words = {
        "export": ["--output", out / "m.onnx"],
        "quantize": ["--data", tiny.data.train, "--output", out],
        "inspect": [],
    }[command]
    detq(command, path, *words).refused("x.pt: ", *texts)
    left = {name for name in tree(tmp_path) if name not in before}
    assert left <= {"out/detq.lock", "out/manifest.json"}
    assert not (tmp_path / "in/trace").exists()


def test_the_hostile_file_is_one(tmp_path: Path) -> None:
    hostile(tmp_path / "x.pt", tmp_path)
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        pickle.loads(archive.read("archive/data.pkl"))
    assert (tmp_path / "trace").exists()


def test_a_part_of_a_network_that_is_not_known(detq: Detq, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="a checkpoint is made with torch")
    from tests.tiny_checkpoint import tiny_checkpoint, trained

    block = trained().neck.Rep_p3.conv1
    known = block.nonlinearity
    try:
        block.nonlinearity = torch.nn.ELU()
        path = tiny_checkpoint(tmp_path / "x.pt")
    finally:
        block.nonlinearity = known
    called = detq("export", path, "--output", tmp_path / "m.onnx")
    called.refused("neck.Rep_p3.conv1.nonlinearity: there is no builder for", "activation.ELU")
    assert not (tmp_path / "m.onnx").exists()
