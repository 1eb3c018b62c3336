import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from detq.data.images import ImageRef
from detq.errors import DatasetError, ModelError, TargetError
from detq_eval.infer import InferenceOptions, infer
from tests.detq_eval.scenes import BoxFinder, write_scenes

OPTIONS = InferenceOptions()
SKIPPING = InferenceOptions(skip_bad_images=True)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    before, cores = threading.active_count(), cv2.getNumThreads()
    yield
    assert (threading.active_count(), cv2.getNumThreads()) == (before, cores)


@pytest.mark.parametrize("batch", [1, 4, 50])
@pytest.mark.parametrize("fixed", [False, True])
def test_finds_every_box_in_order(tmp_path: Path, batch: int, fixed: bool) -> None:
    refs, boxes = write_scenes(tmp_path, 21)
    engine = BoxFinder(batch=batch if fixed else None)
    steps: list[int] = []
    found = list(infer(engine, iter(refs), OPTIONS, batch=batch, on_step=steps.append))
    assert [ref for ref, _ in found] == refs
    for number, ((_, detections), box) in enumerate(zip(found, boxes, strict=True)):
        left, top, width, height = box
        expected = [[left, top, left + width, top + height]]
        # One pixel of the input is up to three of the image.
        np.testing.assert_allclose(detections.boxes, expected, rtol=0, atol=3.5)
        assert detections.classes.tolist() == [number % 2]
    short = 21 % batch
    assert engine.calls == [batch] * (21 // batch) + ([batch if fixed else short] if short else [])
    assert steps == [min(21, batch * n) for n in range(1, len(engine.calls) + 1)]


def test_shrink_and_options_are_heard(tmp_path: Path) -> None:
    refs, _ = write_scenes(tmp_path, 1)
    inputs: list[NDArray[np.float32]] = []

    class Keeper(BoxFinder):
        def __call__(self, images: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
            inputs.append(images.copy())
            return super().__call__(images)

    options = InferenceOptions(shrink=10, confidence=0.85)
    ((_, found),) = infer(Keeper(), refs, options)
    grey = np.float32(114) / np.float32(255)
    assert (inputs[0][0, :, :5] == grey).all()
    assert (inputs[0][0, :, :, :5] == grey).all()
    assert len(found) == 0


@pytest.fixture
def with_bad_images(tmp_path: Path) -> list[ImageRef]:
    refs, _ = write_scenes(tmp_path, 9)
    refs[2].path.write_bytes(b"")
    refs[7].path.write_bytes(b"no image")
    return refs


@pytest.mark.parametrize("batch", [1, 4])
def test_a_bad_image_is_an_error_that_names_it(with_bad_images: list[ImageRef], batch: int) -> None:
    with pytest.raises(DatasetError, match=r"002.png: is empty"):
        list(infer(BoxFinder(), with_bad_images, OPTIONS, batch=batch))


@pytest.mark.parametrize("batch", [1, 4, 9])
def test_bad_images_can_be_skipped(with_bad_images: list[ImageRef], batch: int) -> None:
    skipped: list[tuple[ImageRef, DatasetError]] = []
    steps: list[int] = []
    found = infer(
        BoxFinder(),
        with_bad_images,
        SKIPPING,
        batch=batch,
        on_step=steps.append,
        on_skip=lambda ref, error: skipped.append((ref, error)),
    )
    good = [ref for number, ref in enumerate(with_bad_images) if number not in (2, 7)]
    assert [ref for ref, detections in found if len(detections) == 1] == good
    assert [ref.id for ref, _ in skipped] == ["002.png", "007.png"]
    assert skipped[0][1].what == "is empty"
    assert steps[-1] == 9


def test_an_engine_that_fails_ends_it(tmp_path: Path) -> None:
    refs, _ = write_scenes(tmp_path, 9)

    class Failing(BoxFinder):
        def __call__(self, images: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
            if len(self.calls) == 3:
                raise TargetError("out of memory", where="engine")
            return super().__call__(images)

    with pytest.raises(TargetError, match="out of memory"):
        list(infer(Failing(), refs, OPTIONS))


def test_an_interrupt_passes_through(tmp_path: Path) -> None:
    refs, _ = write_scenes(tmp_path, 9)

    class Interrupted(BoxFinder):
        def __call__(self, images: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(infer(Interrupted(), refs, OPTIONS))


def test_one_may_stop_looking(tmp_path: Path) -> None:
    refs, _ = write_scenes(tmp_path, 30)
    asked: list[ImageRef] = []

    def images() -> Iterator[ImageRef]:
        for ref in refs:
            asked.append(ref)
            yield ref

    found = infer(BoxFinder(), images(), OPTIONS)
    assert next(found)[0] == refs[0]
    found.close()
    assert len(asked) < 30


def test_rows_of_another_shape_are_refused(tmp_path: Path) -> None:
    refs, _ = write_scenes(tmp_path, 2)

    class Wide(BoxFinder):
        def __call__(self, images: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
            return {"outputs": np.zeros((len(images), 20, 85), np.float32)}

    with pytest.raises(ModelError, match=r"gives \[1, 20, 85\] where \[1, boxes, 7\] is promised"):
        list(infer(Wide(), refs, OPTIONS))
