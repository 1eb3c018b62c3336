import cv2
import numpy as np
import pytest

from detq.detection import Detections
from detq_eval.draw import class_colour, draw_boxes


def found(*rows: tuple[tuple[float, float, float, float], float, int]) -> Detections:
    boxes = np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in rows], np.float32)
    return Detections(boxes, scores, np.array([label for _, _, label in rows], np.int64))


def picture(height: int = 120, width: int = 200) -> np.ndarray:
    return np.full((height, width, 3), 30, np.uint8)


def colours_at(image: np.ndarray, *places: tuple[int, int]) -> list[tuple[int, ...]]:
    return [tuple(image[y, x].tolist()) for x, y in places]


def test_nothing_found_is_the_picture_itself() -> None:
    image = picture()
    drawn = draw_boxes(image, found(), ["cat"])
    np.testing.assert_array_equal(drawn, image)
    assert drawn is not image


def test_the_rim_has_the_colour_of_the_class_and_the_inside_is_seen() -> None:
    image = picture()
    drawn = draw_boxes(image, found(((50.9, 60.2, 150.7, 100.9), 0.9, 1)), ["cat", "dog"])
    on_rim = [(100, 60), (100, 100), (50, 80), (150, 80), (150, 100)]
    assert colours_at(drawn, *on_rim) == [class_colour(1)] * 5
    assert colours_at(drawn, (100, 80), (10, 10), (160, 80)) == [(30, 30, 30)] * 3
    np.testing.assert_array_equal(image, picture())


def test_the_label_stands_above_and_stays_inside_the_picture() -> None:
    above = draw_boxes(picture(), found(((50, 60, 150, 100), 0.9, 0)), ["cat"])
    changed = np.argwhere((above != picture()).any(axis=2))
    assert 40 < changed[:, 0].min() < 60
    top_right = draw_boxes(picture(), found(((180, 0, 199, 30), 0.9, 0)), ["a long name"])
    changed = np.argwhere((top_right != picture()).any(axis=2))
    assert changed[:, 1].min() < 150  # moved to the left to have room
    assert changed[:, 1].max() == 199


def test_the_best_is_on_top() -> None:
    box = (50.0, 60.0, 150.0, 100.0)
    drawn = draw_boxes(picture(), found((box, 0.9, 0), (box, 0.4, 1)), ["cat", "dog"])
    assert colours_at(drawn, (100, 100)) == [class_colour(0)]


def test_text_is_legible_on_every_colour() -> None:
    for label in range(80):
        colour = class_colour(label)
        drawn = draw_boxes(picture(), found(((20, 60, 180, 100), 0.5, label)), ["x"] * 80)
        ink = {tuple(pixel) for pixel in drawn[40:60, 20:60].reshape(-1, 3).tolist()}
        contrast = max(abs(sum(pixel) - sum(colour)) for pixel in ink)
        assert contrast > 250, label


def test_neighbouring_classes_differ() -> None:
    for label in range(20):
        here, there = np.array(class_colour(label)), np.array(class_colour(label + 1))
        assert np.abs(here - there).max() > 80


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 0), (199, 119, 199, 119), (0, 0, 200, 120), (5, 5, 5, 90)]
)
def test_boxes_without_area_and_at_the_rim(box: tuple[float, float, float, float]) -> None:
    drawn = draw_boxes(picture(), found((box, 0.5, 0)), ["cat"])
    assert drawn.shape == (120, 200, 3)
    assert (drawn != picture()).any()


def test_a_tiny_picture() -> None:
    assert draw_boxes(picture(2, 3), found(((0, 0, 2, 1), 0.5, 0)), ["cat"]).shape == (2, 3, 3)


def plates(image: np.ndarray, colour: tuple[int, int, int]) -> list[tuple[int, ...]]:
    """Left, top, right, bottom of every filled rectangle of a colour."""
    mask = (image == np.array(colour, np.uint8)).all(axis=2).astype(np.uint8)
    solid = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, _, found, _ = cv2.connectedComponentsWithStats(solid)
    return [(x, y, x + w, y + h) for x, y, w, h, _ in found[1:].tolist()]


def test_a_label_moves_away_from_that_of_a_better_box() -> None:
    box = (20.0, 60.0, 180.0, 100.0)
    drawn = draw_boxes(picture(), found((box, 0.9, 0), (box, 0.6, 1), (box, 0.3, 2)), ["x"] * 3)
    above, inside, below = (plates(drawn, class_colour(label))[0] for label in range(3))
    assert above[3] <= 61 and 59 <= inside[1] <= 62 and below[1] >= 99


def test_a_crowd_of_labels_stays_inside_the_picture() -> None:
    box = (150.0, 90.0, 199.0, 119.0)
    rows = [(box, 0.9 - label / 10, label) for label in range(5)]
    drawn = draw_boxes(picture(), found(*rows), ["a name"] * 5)
    for label in range(3):
        left, top, right, bottom = plates(drawn, class_colour(label))[0]
        assert left >= 0 and top >= 0 and right <= 200 and bottom <= 120
        assert bottom - top > 8, label


def test_lines_do_not_run_through_words() -> None:
    names = ["word", ""]
    alone = draw_boxes(picture(), found(((20, 60, 180, 100), 0.5, 0)), names)
    left, top, right, bottom = plates(alone, class_colour(0))[0]
    crossing = ((30.0, 20.0, 40.0, 110.0), 0.9, 1)
    both = draw_boxes(picture(), found(crossing, ((20, 60, 180, 100), 0.5, 0)), names)
    np.testing.assert_array_equal(both[top:bottom, left:right], alone[top:bottom, left:right])


@pytest.mark.parametrize(("side", "height"), [(320, (10, 18)), (1280, (16, 28))])
def test_labels_are_legible_and_do_not_fill_the_picture(side: int, height: tuple[int, int]) -> None:
    image = picture(side * 3 // 4, side)
    top = side // 2
    drawn = draw_boxes(image, found(((9, top, side - 9, top + 60), 0.5, 0)), ["dog"])
    above = top - np.argwhere((drawn != image).any(axis=2))[:, 0].min()
    assert height[0] <= above <= height[1]
