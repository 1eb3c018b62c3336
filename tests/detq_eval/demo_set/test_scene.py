import hashlib

import numpy as np
import pytest

from detq_eval.demo_set.draws import Draws
from detq_eval.demo_set.files import SEEDS
from detq_eval.demo_set.scene import draw_scene
from detq_eval.demo_set.shapes import FULL, NAMES, mask_of

# Of pixels and truth. They change when the drawing does, and the bundled detector with it.
FIRST_HASH = "cb17da2becc9d71c37824b1773d0fed014f359965b8b988f3e7fff24737c3778"
WHOLE_HASH = "b786eeccb041335b40f45896719e88e894a752ffcdd85b26191faf2613346c9c"


def hash_of(counts: dict[str, int]) -> str:
    found = hashlib.sha256()
    for part, count in counts.items():
        for number in range(count):
            scene = draw_scene(SEEDS[part], number)
            for array in (scene.image, scene.boxes, scene.classes, scene.areas):
                found.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return found.hexdigest()


def test_pictures_are_the_same_on_every_machine() -> None:
    assert hash_of({"evaluation": 12, "calibration": 4}) == FIRST_HASH


@pytest.mark.slow
def test_the_whole_set_is_the_same_on_every_machine() -> None:
    assert hash_of({"evaluation": 300, "calibration": 64}) == WHOLE_HASH


def test_seeds_and_numbers_give_other_pictures() -> None:
    images = [draw_scene(*place, 64, 64).image for place in ((1, 0), (1, 1), (2, 0))]
    assert not any(np.array_equal(images[i], images[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_boxes_are_on_the_picture_and_hold_what_is_seen() -> None:
    for number in range(12):
        scene = draw_scene(3, number, 160, 192)
        assert scene.image.shape == (160, 192, 3)
        assert len(scene.boxes) == len(scene.classes) == len(scene.areas)
        for (left, top, right, bottom), area in zip(scene.boxes, scene.areas, strict=True):
            assert 0 <= left < right <= 192
            assert 0 <= top < bottom <= 160
            assert 0 < area <= (right - left) * (bottom - top)


def test_every_class_is_there_about_as_often() -> None:
    labels = np.concatenate([draw_scene(4, number, 160, 160).classes for number in range(150)])
    counts = np.bincount(labels, minlength=len(NAMES))
    assert counts.min() * 2.5 > counts.max()


@pytest.mark.parametrize("name", NAMES)
def test_turning_keeps_what_a_shape_covers(name: str) -> None:
    whole = mask_of(name, diameter=80, stretch=100, lean=0, turn=0).astype(int).sum()
    turned = mask_of(name, diameter=80, stretch=100, lean=0, turn=37).astype(int).sum()
    assert turned == pytest.approx(whole, rel=0.02)


def test_masks_of_known_area() -> None:
    disc = mask_of("disc", diameter=100, stretch=100, lean=0, turn=0)
    assert disc.max() == FULL
    assert disc.astype(int).sum() / FULL == pytest.approx(np.pi * 50**2, rel=0.02)
    square = mask_of("square", diameter=100, stretch=70, lean=0, turn=0)
    assert square.astype(int).sum() / FULL == pytest.approx(0.7 * 100**2 / 2, rel=0.03)
    ring = mask_of("ring", diameter=100, stretch=100, lean=0, turn=0)
    assert ring[51, 51] == 0


def test_draws_are_those_of_the_stream() -> None:
    """As the first numbers were written down; a slow reading of the same stream beside it."""
    raw = np.random.PCG64([9, 2]).random_raw(3)
    draws = Draws(9, 2)
    assert [draws.below(10) for _ in range(3)] == [(int(n) >> 32) * 10 >> 32 for n in raw]
    assert draws.octets(3, 5).shape == (3, 5)
    values = [Draws(1, n).between(-2, 2) for n in range(300)]
    assert set(values) == {-2, -1, 0, 1, 2}
