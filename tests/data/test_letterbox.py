import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detq.data.images import read_image
from detq.data.letterbox import Letterbox, centre, letterbox, network_input
from detq.detection import Preprocessing
from detq.errors import InputError

RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def folder(data: Path) -> Path:
    return data / "fixtures" / "prepost"


@pytest.fixture(scope="module")
def golden(folder: Path) -> dict[str, list[dict[str, Any]]]:
    goldens: dict[str, list[dict[str, Any]]] = json.loads((folder / "prepost.json").read_text())
    return goldens


def test_evaluation_equals_the_goldens(
    folder: Path, golden: dict[str, list[dict[str, Any]]]
) -> None:
    cases = [case for case in golden["letterbox"] if case["kind"] == "evaluation"]
    assert len(cases) == 54
    for case in cases:
        image = read_image(folder / case["image"])
        if case["specific_shape"]:
            boxed, place = letterbox(image, tuple(case["specific_shape"]))
        else:
            square = (case["img_size"], case["img_size"])
            size = tuple(case["out_chw"][1:])
            boxed, place = letterbox(image, size, shrink=case["shrink_size"], frame=square)
        rgb = np.ascontiguousarray(boxed[:, :, ::-1].transpose(2, 0, 1))
        assert hashlib.sha256(rgb.tobytes()).hexdigest() == case["sha256_rgb_chw"], case
        check_place(place, case["ratio_hw"], case)


def test_inference_equals_the_goldens(
    folder: Path, golden: dict[str, list[dict[str, Any]]]
) -> None:
    cases = [case for case in golden["letterbox"] if case["kind"] == "letterbox"]
    assert len(cases) == 42
    for case in cases:
        height, width = (np.ones(2, int) * case["new_shape"]).tolist()
        stride = case["stride"] if case["auto"] else None
        boxed, place = centre(
            read_image(folder / case["image"]),
            (height, width),
            enlarge=case["scaleup"],
            stride=stride,
        )
        assert hashlib.sha256(boxed.tobytes()).hexdigest() == case["sha256_bgr_hwc"], case
        check_place(place, [case["ratio"]] * 2, case)


def check_place(place: Letterbox, ratio_hw: list[float], case: dict[str, Any]) -> None:
    shape = case["out_chw"][1:] if "out_chw" in case else case["out_hwc"][:2]
    assert list(place.ratio_hw) == ratio_hw
    assert list(place.pad_left_top) == case["pad_left_top"]
    assert list(place.network) == shape
    assert list(place.original) == case.get("orig_hw", list(place.original))


def test_boxes_in_original_equal_the_goldens(
    folder: Path, golden: dict[str, list[dict[str, Any]]]
) -> None:
    with np.load(folder / "rescale.npz") as arrays:
        for case in golden["rescale"]:
            found = place_of(case).boxes_in_original(arrays[case["key"] + "_in"])
            np.testing.assert_allclose(found, arrays[case["key"] + "_out"], rtol=0, atol=1e-4)


def place_of(case: dict[str, Any]) -> Letterbox:
    h, w = case["orig_hw"]
    if "gain_hw" in case:
        return Letterbox(tuple(case["gain_hw"]), tuple(case["pad_left_top"]), (h, w), (0, 0))
    height, width = case["letterboxed_hw"]
    ratio = min(height / h, width / w)
    pad = ((width - w * ratio) / 2, (height - h * ratio) / 2)
    return Letterbox((ratio, ratio), pad, (h, w), (height, width))


sides = st.integers(1, 200)


@given(h=sides, w=sides, height=sides, width=sides, shrink=st.integers(0, 20))
def test_the_whole_image_lies_on_grey(h: int, w: int, height: int, width: int, shrink: int) -> None:
    shrink = min(shrink, height - 1, width - 1)
    image = np.zeros((h, w, 3), np.uint8)
    boxed, place = letterbox(image, (height, width), shrink=shrink)
    assert boxed.shape == (height, width, 3)
    (high, wide), (left, top) = place.ratio_hw, place.pad_left_top
    inside = np.argwhere(boxed[:, :, 0] == 0)
    assert tuple(inside.min(axis=0)) == (top, left)
    bottom, right = inside.max(axis=0) + 1
    assert abs(bottom - top - h * high) < 1
    assert abs(right - left - w * wide) < 1
    assert (boxed == 114).sum() == boxed.size - 3 * len(inside)
    np.testing.assert_allclose(
        place.boxes_in_original(np.array([[left, top, left + w * wide, top + h * high]])),
        [[0, 0, w, h]],
        rtol=0,
        atol=1e-3,
    )


def test_boxes_are_clipped_to_the_image() -> None:
    place = Letterbox((0.5, 0.5), (10, 20), (100, 200), (90, 120))
    boxes = np.array([[0, 0, 500, 500], [20, 30, 60, 40]], np.float32)
    expected = [[0, 0, 200, 100], [20, 20, 100, 40]]
    np.testing.assert_allclose(place.boxes_in_original(boxes), expected, rtol=0, atol=1e-4)


def test_network_input_divides_exactly() -> None:
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    image[:, :, 1] = RNG.permutation(256).reshape(16, 16)
    other = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    batch = network_input([image, other], Preprocessing())
    assert batch.dtype == np.float32
    expected = np.stack([image, other])[:, :, :, ::-1].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(batch, expected.astype(np.float32) / np.float32(255))


def test_network_input_follows_the_contract() -> None:
    image = RNG.integers(0, 256, (8, 12, 3), dtype=np.uint8)
    batch = network_input([image], Preprocessing(channels="BGR", scale=1.0))
    np.testing.assert_array_equal(batch[0], image.transpose(2, 0, 1).astype(np.float32))


def test_the_pad_is_the_contracts() -> None:
    boxed, _ = letterbox(np.zeros((4, 8, 3), np.uint8), (8, 8), pad=7)
    assert set(boxed[:2].ravel()) == {7}


def test_a_border_that_leaves_nothing() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    assert letterbox(image, (64, 96), shrink=63)[0].shape == (64, 96, 3)
    with pytest.raises(InputError, match="64 pixels leave nothing of 64 x 96"):
        letterbox(image, (64, 96), shrink=64)
