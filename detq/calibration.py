"""The images that ranges are taken from: drawn, read, recorded."""

from collections.abc import Callable, Collection, Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from detq.data.images import ImageRef, choose_images, list_images, read_image
from detq.data.letterbox import letterbox, network_input
from detq.detection import Detector
from detq.errors import CalibrationError, DatasetError
from detq.model import FloatModel
from detq.recipe import Calibration
from detq.run_dir import file_hash
from detq.stats import CalibrationStats


class UsedImage(msgspec.Struct, frozen=True):
    """An image that statistics were taken from; it may be elsewhere by now."""

    id: int | str
    path: str
    sha256: str
    bytes: int


class CalibrationImages(msgspec.Struct, frozen=True):
    """Which images made the ranges.

    Attributes:
        seed: of the draw.
        used: in the order of the draw.
        skipped: path and reason of the images that could not be read.
    """

    seed: int
    used: tuple[UsedImage, ...]
    skipped: tuple[tuple[str, str], ...]


def drawn_images(options: Calibration) -> tuple[ImageRef, ...]:
    """The images a recipe asks for.

    Raises:
        DatasetError: there is no such dataset, or an image is missing.
    """
    refs = list_images(options.data, options.images, split="train")
    return choose_images(refs, options.count, options.seed)


def observe_images(
    model: FloatModel,
    values: Collection[str],
    refs: Sequence[ImageRef],
    options: Calibration,
    on_step: Callable[[int], None],
) -> tuple[CalibrationStats, CalibrationImages]:
    """Statistics of ``values`` over all images that can be read, and which those were.

    Args:
        model: the float network.
        values: names of the tensors to look at.
        refs: from ``drawn_images``.
        options: how they are resized and batched.
        on_step: told the number of images done.

    Raises:
        CalibrationError: no image can be read, or a tensor is not finite.
    """
    from detq.observe import collect

    reader = _Reader(model.detector, options, model.batch)
    done = 0

    def count(images: int) -> None:
        nonlocal done
        done = min(done + images, len(refs))
        on_step(done)

    tensors = collect(model, values, reader.batches(refs), count)
    on_step(len(refs))  # with those that were left out
    images = CalibrationImages(options.seed, tuple(reader.used), tuple(reader.skipped))
    return CalibrationStats(tensors, tuple(image.sha256 for image in images.used)), images


def first_batches(
    model: FloatModel, refs: Sequence[ImageRef], options: Calibration, count: int
) -> Iterator[NDArray[np.float32]]:
    """The first ``count`` images as the network takes them; what cannot be read is left out.

    Raises:
        CalibrationError: none of them can be read.
    """
    return _Reader(model.detector, options, model.batch).batches(refs[:count])


class _Reader:
    """Images as batches; what cannot be read is skipped, counted and named."""

    def __init__(self, detector: Detector, options: Calibration, fixed: int | None) -> None:
        self._detector, self._options = detector, options
        self._fixed, self._batch = fixed, fixed or options.batch
        self.used: list[UsedImage] = []
        self.skipped: list[tuple[str, str]] = []

    def batches(self, refs: Sequence[ImageRef]) -> Iterator[NDArray[np.float32]]:
        waiting: list[NDArray[np.uint8]] = []
        for ref in refs:
            waiting += self._read(ref)
            if len(waiting) == self._batch:
                yield network_input(waiting, self._detector.preprocessing)
                waiting = []
        if waiting:
            # A network for a fixed batch sees the last image again.
            again = [waiting[-1]] * ((self._fixed or 0) - len(waiting))
            yield network_input([*waiting, *again], self._detector.preprocessing)
        if not self.used:
            raise CalibrationError(
                f"none of {len(refs)} images can be read",
                where=str(self._options.data),
                hint=f"the first: {self.skipped[0][0]} {self.skipped[0][1]}",
            )

    def _read(self, ref: ImageRef) -> list[NDArray[np.uint8]]:
        try:
            image = read_image(ref.path)
        except DatasetError as error:
            self.skipped.append((str(ref.path), error.what))
            return []
        size = ref.path.stat().st_size
        self.used.append(UsedImage(ref.id, str(ref.path), file_hash(ref.path), size))
        pad = self._detector.preprocessing.pad
        return [letterbox(image, self._detector.size, shrink=self._options.shrink, pad=pad)[0]]
