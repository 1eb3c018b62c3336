"""Preprocessing inside a file against the same preprocessing outside."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from detq.data.letterbox import network_input
from detq.detection import Detector, Preprocessing
from detq.dialects.heads import Heads, with_heads
from detq.errors import InputError
from detq.graph.build import Builder
from detq.graph.files import detector_from_metadata, detector_metadata, save_model
from tests.engines import in_onnxruntime

ORDINARY = Preprocessing()


def file(preprocessing: Preprocessing, batch: int | str = "batch"):  # type: ignore[no-untyped-def]
    """A network that gives its input as it is."""
    b = Builder("identity")
    shape = (batch, 3, 16, 16)
    y = b.op("Identity", b.input("images", shape), shape=shape)
    detector = Detector(
        family="t", names=("a",), strides=(8,), size=(16, 16), preprocessing=preprocessing
    )
    return b.finish({"outputs": y}, detector_metadata(detector))


def with_pixels(preprocessing: Preprocessing, batch: int | str = "batch"):  # type: ignore[no-untyped-def]
    return with_heads(file(preprocessing, batch), Heads(preprocess=True), nms=(), where="t")


@pytest.mark.parametrize(
    "preprocessing",
    [
        ORDINARY,
        Preprocessing(channels="BGR"),
        Preprocessing(channels="BGR", scale=1.0),
        Preprocessing(scale=1 / 128),
    ],
)
def test_the_network_sees_the_same_floats(preprocessing: Preprocessing) -> None:
    every = np.arange(2 * 16 * 16 * 3).reshape(2, 16, 16, 3) * 7 % 256
    images = every.astype(np.uint8)
    assert len(np.unique(images)) == 256
    wanted = network_input(list(images), preprocessing)
    got = in_onnxruntime(with_pixels(preprocessing), {"images": images})["outputs"]
    np.testing.assert_array_equal(got, wanted)


def test_any_factor_comes_close() -> None:
    preprocessing = Preprocessing(scale=0.0173)
    images = np.arange(768).reshape(1, 16, 16, 3).astype(np.uint8)
    wanted = network_input(list(images), preprocessing)
    got = in_onnxruntime(with_pixels(preprocessing), {"images": images})["outputs"]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)  # a float32 factor


@pytest.mark.parametrize("batch", ["batch", 4])
def test_the_file_is_valid_and_says_what_it_takes(batch: int | str, tmp_path: Path) -> None:
    model = with_pixels(ORDINARY, batch)
    save_model(model, tmp_path / "m.onnx")
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    (images,) = model.graph.inputs
    assert (images.name, images.shape) == ("images", [batch, 16, 16, 3])
    assert onnx.load(tmp_path / "m.onnx").graph.input[0].type.tensor_type.elem_type == (
        onnx.TensorProto.UINT8
    )
    assert detector_from_metadata(model.metadata_props, "").takes_pixels
    cast = next(iter(images.consumers()))
    assert cast.op_type == "Cast"  # nothing else may read uint8 in TensorRT


def test_a_file_that_has_it_already() -> None:
    with pytest.raises(InputError, match="has this head already"):
        with_heads(with_pixels(ORDINARY), Heads(preprocess=True), nms=(), where="t")
