import numpy as np
import pytest

pytest.importorskip("torch", reason="the trainer runs in torch")

from tests.tiny_dataset import NAMES, tiny_dataset
from tools.train.pictures import Changed, Pictures, read_pictures

SIZE = 128


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    data = tiny_dataset(tmp_path_factory.mktemp("tiny"))
    return read_pictures(data.coco, data.val)


def test_classes_and_boxes_are_those_of_the_file(pictures: Pictures) -> None:
    assert pictures.names == NAMES
    assert len(pictures.images) == 8
    assert all(1 <= len(boxes) <= 3 for boxes in pictures.boxes)
    assert {int(label) for row in pictures.classes for label in row} <= {0, 1, 2}


@pytest.mark.parametrize("mosaics", [0, 100])
def test_boxes_stay_on_their_rectangles(pictures: Pictures, mosaics: int) -> None:
    """Each class has a colour of its own: its channel is the brightest inside its box."""
    seen = 0
    for number in range(24):
        sample = Changed(pictures, 3, SIZE, mosaics)(number)
        assert sample.image.shape == (SIZE, SIZE, 3)
        for (left, top, right, bottom), label in zip(sample.boxes, sample.classes, strict=True):
            assert 0 <= left < right <= SIZE
            assert 0 <= top < bottom <= SIZE
            inside = sample.image[int(top) + 2 : int(bottom) - 1, int(left) + 2 : int(right) - 1]
            if inside.size:
                assert inside.mean((0, 1)).argmax() == label
                seen += 1
    assert seen >= 20


def test_a_sample_is_the_same_each_time_and_others_differ(pictures: Pictures) -> None:
    sample = Changed(pictures, 3, SIZE, 100)
    again = Changed(pictures, 3, SIZE, 100)
    assert np.array_equal(sample(5).image, again(5).image)
    assert not np.array_equal(sample(5).image, sample(6).image)
    assert not np.array_equal(sample(5).image, Changed(pictures, 4, SIZE, 100)(5).image)


def test_every_image_is_seen_before_one_comes_again(pictures: Pictures) -> None:
    from tools.train.pictures import _order

    for epoch in range(3):
        assert sorted(_order(3, epoch, 8)) == list(range(8))
    assert list(_order(3, 0, 8)) != list(_order(3, 1, 8))
