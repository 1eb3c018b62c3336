import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from detq.data.images import ImageRef
from detq.detection import Detections
from detq_eval.stored import StoredDetections


def some(count: int, seed: int) -> Detections:
    rng = np.random.default_rng(seed)
    return Detections(
        rng.uniform(0, 640, (count, 4)).astype(np.float32),
        rng.uniform(0, 1, count).astype(np.float32),
        rng.integers(0, 80, count),
    )


def same(a: Detections, b: Detections) -> bool:
    pairs = ((a.boxes, b.boxes), (a.scores, b.scores), (a.classes, b.classes))
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in pairs)


def test_what_is_read_is_what_was_written_in_any_order() -> None:
    wanted = [(ImageRef(k, Path(f"{k}.jpg")), some(count, k)) for k, count in enumerate([3, 0, 7])]
    stored = StoredDetections()
    for ref, detections in wanted:
        stored.append(ref, detections)
        assert same(stored[len(stored) - 1][1], detections)  # reading between two writes
    assert [ref.id for ref, _ in stored] == [0, 1, 2]
    assert [same(a, b) for (_, a), (_, b) in zip(stored, wanted, strict=True)] == [True] * 3
    assert same(stored[-1][1], wanted[2][1])
    assert [ref.id for ref, _ in stored[::-1]] == [2, 1, 0]
    with pytest.raises(IndexError):
        stored[3]


def test_memory_holds_no_boxes() -> None:
    stored, many = StoredDetections(), some(10_000, 0)
    tracemalloc.start()
    try:
        for k in range(3):
            stored.append(ImageRef(k, Path("a.jpg")), many)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < many.boxes.nbytes / 4
