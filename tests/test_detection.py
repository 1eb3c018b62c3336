import numpy as np
import pytest

from detq.detection import Detector, Layout, rows_of_output
from detq.errors import ModelError


def detector(layout: Layout = "rows") -> Detector:
    return Detector(family="x", names=("a", "b"), strides=(8,), size=(32, 32), layout=layout)


ROWS = np.arange(2 * 5 * 7, dtype=np.float32).reshape(2, 5, 7)
WITHOUT = np.delete(ROWS, 4, axis=2)


def test_whole_rows_are_handed_on() -> None:
    found = rows_of_output(ROWS, detector(), 2)
    assert found is ROWS


@pytest.mark.parametrize("layout", ["rows", "channels"])
@pytest.mark.parametrize("objectness", [True, False])
def test_every_form_becomes_rows(layout: Layout, objectness: bool) -> None:
    given = ROWS if objectness else WITHOUT
    output = given if layout == "rows" else np.ascontiguousarray(given.swapaxes(1, 2))
    found = rows_of_output(output, detector(layout), 2)
    assert (found.shape, found.dtype) == ((2, 5, 7), np.float32)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found[..., :4], ROWS[..., :4])
    np.testing.assert_array_equal(found[..., 5:], ROWS[..., 5:])
    np.testing.assert_array_equal(found[..., 4], ROWS[..., 4] if objectness else 1)


@pytest.mark.parametrize(
    ("shape", "layout", "words"),
    [
        ((2, 5, 8), "rows", r"gives \[2, 5, 8\] where \[2, boxes, 7\] is promised"),
        ((1, 5, 7), "rows", r"where \[2, boxes, 7\]"),
        ((2, 5, 7), "channels", r"gives \[2, 5, 7\] where \[2, 7, boxes\] is promised"),
        ((2, 35), "channels", r"gives \[2, 35\]"),
    ],
)
def test_another_form_is_told(shape: tuple[int, ...], layout: Layout, words: str) -> None:
    with pytest.raises(ModelError, match=rf"^engine: .*{words}"):
        rows_of_output(np.zeros(shape, np.float32), detector(layout), 2, "engine")
