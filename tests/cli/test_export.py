import json
import time
from pathlib import Path

import numpy as np
import pytest

from detq.graph.files import load_model
from tests.cli.calls import SIZE, Detq, Tiny
from tests.tiny_dataset import NAMES

pytest.importorskip("torch", reason="a checkpoint is merged with torch")


def in_onnxruntime(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"images": images})[0])


@pytest.mark.parametrize("options", [["--batch", "2"], [], ["--no-merge"]], ids=" ".join)
def test_the_file_computes_what_the_network_does(
    detq: Detq, tiny: Tiny, tmp_path: Path, options: list[str]
) -> None:
    import torch

    from tests.tiny_checkpoint import trained

    path = tmp_path / "deep" / "m.onnx"
    detq("export", tiny.checkpoint, "--float", "--size", SIZE, *options, "--output", path).done()
    images = np.random.default_rng(0).random((2, 3, 64, 96), np.float32)
    with torch.no_grad():
        scores, boxes = trained()(torch.from_numpy(images))
    left_top, right_bottom = boxes[..., :2], boxes[..., 2:]
    wanted = torch.cat([(left_top + right_bottom) / 2, right_bottom - left_top], 2)
    found = in_onnxruntime(path, images)
    assert found.shape == (2, 126, 5 + len(NAMES))
    np.testing.assert_allclose(found[..., :4], wanted, atol=2e-3, rtol=0)  # pixels
    np.testing.assert_allclose(found[..., 4], 1, atol=0, rtol=0)
    np.testing.assert_allclose(found[..., 5:], scores.sigmoid(), atol=2e-5, rtol=0)


def test_the_batch_is_fixed_or_open(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    words = ["export", tiny.checkpoint, "--size", SIZE, "--output", path]
    assert "images 2 x 3 x 64 x 96\n" in detq(*words, "--batch", "2").done().out
    assert load_model(path).graph.inputs[0].shape == (2, 3, 64, 96)
    assert "images any x 3 x 64 x 96\n" in detq(*words).done().out
    assert not isinstance(load_model(path).graph.inputs[0].shape[0], int)


def test_the_same_call_gives_the_same_bytes(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in paths:
        detq("export", tiny.checkpoint, "--size", SIZE, "--output", path).done()
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_figures_as_json(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    called = detq("export", tiny.checkpoint, "--size", "64", "--json", "--output", path).done()
    figures = json.loads(called.out)
    assert figures["output"] == str(path)
    assert figures["bytes"] == path.stat().st_size
    assert figures["size"] == [64, 64]
    assert called.err == ""


@pytest.mark.parametrize(
    ("size", "next_size"), [("100", "128x128"), ("64x100", "64x128"), ("9000", "8192x8192")]
)
def test_a_size_between_strides_is_refused_with_the_next(
    detq: Detq, tiny: Tiny, tmp_path: Path, size: str, next_size: str
) -> None:
    called = detq("export", tiny.checkpoint, "--size", size, "--output", tmp_path / "m.onnx")
    called.refused("size: ", "multiples of 32", f"next valid size is {next_size}")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_the_file(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    called = detq("export", tiny.checkpoint, "--size", SIZE, "--output", tmp_path)
    called.refused(f"{tmp_path}: cannot be written", "choose a folder that is writable")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    called = detq("export", tiny.checkpoint, "--size", SIZE, "--output", tmp_path / "file/m.onnx")
    called.refused("file/m.onnx: cannot be written: a file is in the way")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.slow
def test_a_published_size_is_written_in_ten_seconds(detq: Detq, data: Path, tmp_path: Path) -> None:
    checkpoint = data / "person" / "person_yolov6n_ckpt.pt"
    start = time.process_time()
    detq("export", checkpoint, "--size", 640, "--output", tmp_path / "m.onnx").done()
    assert time.process_time() - start < 10
