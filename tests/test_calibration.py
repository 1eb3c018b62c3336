import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="calibrating runs the network in torch")

from detq.calibration import CalibrationImages, drawn_images, observe_images
from detq.data.images import ImageRef, read_image
from detq.data.letterbox import letterbox, network_input
from detq.dialects import write_float
from detq.errors import CalibrationError, DatasetError
from detq.model import FloatModel
from detq.observe import collect
from detq.recipe import Calibration
from detq.run_dir import file_hash
from detq.stats import CalibrationStats
from tests.tiny_dataset import SIZE, TinyDataset, tiny_dataset
from tests.zoo import tiny_detector

VALUES = {"images", "outputs"}


@pytest.fixture(scope="module")
def model() -> FloatModel:
    return tiny_detector(size=SIZE)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> TinyDataset:
    return tiny_dataset(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def images(pictures: TinyDataset, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pictures.train, tmp_path / "images"))


def observe(
    model: FloatModel, options: Calibration, refs: Sequence[ImageRef] | None = None
) -> tuple[CalibrationStats, CalibrationImages, list[int]]:
    steps: list[int] = []
    refs = drawn_images(options) if refs is None else refs
    return *observe_images(model, VALUES, refs, options, steps.append), steps


def test_the_draw_depends_on_the_seed_alone(images: Path) -> None:
    drawn = [drawn_images(Calibration(data=images, count=3, seed=seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 3
    assert drawn_images(Calibration(data=images, count=8))[:3] == drawn[0]


def test_the_train_split_of_a_data_yaml_is_drawn_from(pictures: TinyDataset) -> None:
    refs = drawn_images(Calibration(data=pictures.yolo, count=100))
    assert {ref.path.parent for ref in refs} == {pictures.train}


def test_statistics_are_those_of_the_letterboxed_images(model: FloatModel, images: Path) -> None:
    options = Calibration(data=images, count=3, shrink=4)
    found, _, _ = observe(model, options)
    boxed = [letterbox(read_image(ref.path), SIZE, shrink=4)[0] for ref in drawn_images(options)]
    wanted = collect(model, VALUES, [network_input(boxed, model.detector.preprocessing)])
    for value in VALUES:
        assert found.tensors[value].minimum == wanted[value].minimum
        assert found.tensors[value].maximum == wanted[value].maximum
        assert found.tensors[value].images == 3


def test_a_fixed_batch_is_always_full(model: FloatModel, images: Path) -> None:
    fixed = FloatModel(write_float(model, batch=3), model.detector)
    found, used, _ = observe(fixed, Calibration(data=images, batch=8))
    wanted, same, _ = observe(model, Calibration(data=images, batch=8))
    assert used == same
    for value in VALUES:
        assert found.tensors[value].images == 9  # the last of eight is seen twice
        np.testing.assert_allclose(
            [found.tensors[value].minimum, found.tensors[value].maximum],
            [wanted.tensors[value].minimum, wanted.tensors[value].maximum],
            rtol=1e-5,
        )


@pytest.mark.parametrize("batch", [1, 3, 8, 100])
def test_the_batch_changes_nothing_but_the_last_bits(
    model: FloatModel, images: Path, batch: int
) -> None:
    one, used, steps = observe(model, Calibration(data=images, batch=1))
    other, same, others = observe(model, Calibration(data=images, batch=batch))
    assert used == same
    assert others == [*range(batch, 8, batch), 8, 8]
    assert steps == [*range(1, 9), 8]
    for value in VALUES:
        for side in ("minimum", "maximum"):
            wanted, got = getattr(one.tensors[value], side), getattr(other.tensors[value], side)
            assert got == pytest.approx(wanted, rel=1e-5)


def test_what_was_used_is_recorded(model: FloatModel, images: Path) -> None:
    options = Calibration(data=images, count=2, seed=5)
    stats, used, _ = observe(model, options)
    assert used.seed == 5
    assert used.skipped == ()
    for image, ref in zip(used.used, drawn_images(options), strict=True):
        assert (image.id, image.path) == (ref.id, str(ref.path))
        assert (image.sha256, image.bytes) == (file_hash(ref.path), ref.path.stat().st_size)
    assert stats.images == tuple(image.sha256 for image in used.used)


def test_what_cannot_be_read_is_left_out_counted_and_named(model: FloatModel, images: Path) -> None:
    options = Calibration(data=images, batch=3)
    refs = drawn_images(options)
    refs[0].path.write_bytes(b"")
    refs[4].path.write_bytes(b"not a picture")
    refs[7].path.write_bytes(refs[7].path.read_bytes()[:400])
    stats, used, steps = observe(model, options, refs)
    assert len(used.used) == 5
    assert dict(used.skipped) == {
        str(refs[0].path): "is empty",
        str(refs[4].path): "is not an image that can be decoded",
        str(refs[7].path): "is cut short",
    }
    assert stats.tensors["images"].images == 5
    assert steps[-1] == 8

    good = [ref for number, ref in enumerate(refs) if number not in (0, 4, 7)]
    without, _, _ = observe(model, options, good)
    assert without.tensors["outputs"].maximum == stats.tensors["outputs"].maximum


def test_no_image_can_be_read(model: FloatModel, images: Path) -> None:
    options = Calibration(data=images)
    for ref in drawn_images(options):
        ref.path.write_bytes(b"")
    with pytest.raises(CalibrationError) as caught:
        observe(model, options)
    assert str(caught.value).startswith(f"{images}: none of 8 images can be read (the first: ")
    assert str(caught.value).endswith(".jpg is empty)")


def test_a_dataset_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file or folder"):
        drawn_images(Calibration(data=tmp_path / "none"))
    with pytest.raises(DatasetError, match="no images"):
        drawn_images(Calibration(data=tmp_path))


def test_one_pixel_and_one_channel_are_pictures_too(model: FloatModel, tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), np.full((1, 1, 3), 255, np.uint8))
    assert cv2.imwrite(str(tmp_path / "b.png"), np.full((300, 2), 7, np.uint8))
    stats, used, _ = observe(model, Calibration(data=tmp_path))
    assert len(used.used) == 2
    assert stats.tensors["images"].maximum == 1.0
