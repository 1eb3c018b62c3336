"""Files that take uint8 [B, H, W, 3] in the engines and on the bench."""

from pathlib import Path

import numpy as np
import pytest

from detq.dialects.heads import Heads, with_heads
from detq.errors import InputError
from detq.graph.files import load_model, save_model
from detq_deploy.backends import open_runner
from detq_deploy.bench_images import batches, input_size, takes_pixels

ENGINES = ("onnxruntime", "openvino")


@pytest.fixture
def pixel_file(float_file: Path) -> Path:
    path = float_file.with_name("pixels.onnx")
    model = with_heads(load_model(float_file), Heads(preprocess=True), nms=(), where="t")
    save_model(model, path)
    return path


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_gets_what_the_file_takes(
    engine: str, pixel_file: Path, float_file: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    planes = (images[..., ::-1].transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32)
    with open_runner(engine, pixel_file, threads=1) as run:
        assert takes_pixels(run)
        assert input_size(pixel_file, run) == (16, 16)
        found = run(images)["outputs"]
        with pytest.raises(InputError, match="takes images as uint8 B x H x W x 3"):
            run(planes)
    with open_runner(engine, float_file, threads=1) as run:
        assert not takes_pixels(run)
        np.testing.assert_allclose(found, run(planes)["outputs"], rtol=1e-5, atol=1e-5)
        with pytest.raises(InputError, match="takes images as floats, was given uint8"):
            run(images)


def test_noise_of_the_bench() -> None:
    found = batches(2, (8, 16), None, pixels=True)
    assert {(batch.shape, batch.dtype.name) for batch in found} == {((2, 8, 16, 3), "uint8")}
    assert found[0].max() > 250


def test_prepared_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the model prepares them itself"):
        batches(1, (8, 8), str(tmp_path / "images.npz"), pixels=True)
