import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detq_eval.nms import BLOCK, non_max_suppression
from tests.reference.suppression import suppress

CASES = [
    "eval_plain", "infer_plain", "ties_multi", "ties_single", "ties_agnostic", "classes", "max_det",
    "max_det_small", "one_class_multi", "v1_objectness", "empty_second", "zero_area",
    "iou_equal_quarter", "iou_equal_half", "max_nms_30000",
]  # fmt: skip


def arguments(case: dict[str, Any]) -> dict[str, Any]:
    given = case["args"]
    return {
        "confidence": given.get("conf_thres", 0.25),
        "iou": given.get("iou_thres", 0.45),
        "max_detections": given.get("max_det", 300),
        "multi_label": given.get("multi_label", False),
        "agnostic": given.get("agnostic", False),
        "classes": given.get("classes"),
    }


@pytest.mark.parametrize("name", CASES)
def test_equals_the_golden_rows_in_order(data: Path, name: str) -> None:
    folder = data / "fixtures" / "prepost"
    cases = json.loads((folder / "prepost.json").read_text())["nms"]
    assert {case["name"] for case in cases} == set(CASES)
    options = arguments(next(case for case in cases if case["name"] == name))
    with np.load(folder / "nms.npz") as arrays:
        for index, rows in enumerate(arrays[f"{name}_in"]):
            golden = arrays[f"{name}_out{index}"]
            found = non_max_suppression(rows, **options)
            np.testing.assert_allclose(found.boxes, golden[:, :4], rtol=0, atol=1e-4)
            np.testing.assert_allclose(found.scores, golden[:, 4], rtol=0, atol=1e-6)
            np.testing.assert_array_equal(found.classes, golden[:, 5])


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 60),
    classes=st.integers(1, 4),
    steps=st.sampled_from([4, 16, 10**6]),  # coarse values give ties and equal boxes
    objectness=st.booleans(),
    threshold=st.sampled_from([0.25, 0.45, 0.5, 0.65]),
    multi_label=st.booleans(),
    agnostic=st.booleans(),
)
def test_equals_the_slow_reference(
    seed: int, count: int, classes: int, steps: int, objectness: bool, threshold: float,
    multi_label: bool, agnostic: bool,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    rows = (rng.integers(0, steps + 1, (count, 5 + classes)) / steps).astype(np.float32)
    rows[:, :4] *= 64
    if not objectness:
        rows[:, 4] = 1
    found = non_max_suppression(
        rows, confidence=0.1, iou=threshold, max_detections=40,
        multi_label=multi_label, agnostic=agnostic,
    )  # fmt: skip
    expected = suppress(rows, 0.1, threshold, 40, multi_label, agnostic)
    columns = [*found.boxes.T, found.scores, found.classes]
    assert list(zip(*columns, strict=True)) == expected


def test_suppresses_across_blocks() -> None:
    # Three times as many boxes as are compared at once, of which every place has several.
    count = 3 * BLOCK
    rng = np.random.default_rng(5)
    rows = np.zeros((count, 7), np.float32)
    places = rng.integers(0, 40, count)
    rows[:, 0], rows[:, 1] = 30 * places + rng.uniform(0, 3, count), 20
    rows[:, 2:4], rows[:, 4] = 20, 1
    rows[:, 5:] = rng.uniform(0.05, 1, (count, 2))
    found = non_max_suppression(rows, confidence=0.03, iou=0.4, max_detections=300)
    expected = suppress(rows, 0.03, 0.4, 300, True, False)
    assert 80 <= len(found) < count
    assert list(zip(*found.boxes.T, found.scores, found.classes, strict=True)) == expected


def test_a_threshold_is_compared_in_float64() -> None:
    # Two boxes with an overlap of float32(0.6), which is a little more than 0.6.
    rows = np.array([[10, 10, 10, 10, 1, 0.9], [10, 10, 10, 6, 1, 0.8]], np.float32)
    assert float(np.float32(60) / np.float32(100)) > 0.6
    assert len(non_max_suppression(rows, confidence=0.1, iou=0.6, max_detections=9)) == 1
    assert len(non_max_suppression(rows, confidence=0.1, iou=0.6000001, max_detections=9)) == 2


def test_finds_nothing_in_nothing() -> None:
    found = non_max_suppression(
        np.zeros((100, 85), np.float32), confidence=0.03, iou=0.65, max_detections=300
    )
    assert (found.boxes.shape, found.scores.shape, found.classes.shape) == ((0, 4), (0,), (0,))
    assert (found.boxes.dtype, found.classes.dtype) == (np.float32, np.int64)
