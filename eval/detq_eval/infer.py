"""Many images through an engine: reading ahead of it, suppression behind it.

Decoding, resizing, the engine and most of NumPy leave Python's lock alone, so plain threads
keep the engine busy. Only this generator's own thread calls the engine and hands out
batches; there are as many batches as buffers, which bounds the memory.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from detq.data.images import ImageRef, Pixels, read_image
from detq.data.letterbox import Letterbox, empty_input, letterbox, write_input
from detq.detection import Detections, Detector, rows_of_output, suppressed_output
from detq.errors import DatasetError
from detq.runner import Runner
from detq_eval.nms import non_max_suppression

Floats = NDArray[np.float32]
Images = NDArray[Any]
Read = Callable[[ImageRef], Pixels]
OnStep = Callable[[int], None]
OnSkip = Callable[[ImageRef, DatasetError], None]
Results = list[tuple[ImageRef, Detections]]
Skipped = list[tuple[ImageRef, DatasetError]]
Places = list[tuple[int, ImageRef, Letterbox]]  # row of the batch

_MOST_READERS = 8
_BATCHES_AHEAD = 2
_BATCHES_BEHIND = 2


class InferenceOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From images to detections; the defaults are the official evaluation's.

    Attributes:
        confidence: lowest score, exclusive.
        iou: largest overlap of two boxes of a class, inclusive.
        max_detections: per image.
        multi_label: a box may carry several classes.
        shrink: pixels the image stays smaller than the input, in both directions.
        skip_bad_images: leave out what cannot be decoded instead of stopping.
    """

    confidence: float = 0.03
    iou: float = 0.65
    max_detections: int = 300
    multi_label: bool = True
    shrink: int = 0
    skip_bad_images: bool = False


def read_file(image: ImageRef) -> Pixels:
    """Pixels of an image on disk, as ``read_image`` gives them."""
    return read_image(image.path)


def infer(
    runner: Runner,
    images: Iterable[ImageRef],
    options: InferenceOptions,
    *,
    batch: int = 1,
    read: Read = read_file,
    on_step: OnStep = lambda done: None,
    on_skip: OnSkip = lambda image, error: None,
) -> Generator[tuple[ImageRef, Detections], None, None]:
    """Detections of each image, in the order of ``images``.

    Args:
        runner: an engine whose first output is what ``rows_of_output`` reads, or that has the
            suppression inside; then ``confidence`` and ``max_detections`` only take boxes away,
            and ``iou`` and ``multi_label`` are the file's.
        images: read lazily.
        options: letterbox and suppression.
        batch: images per call of an engine that takes any number; a fixed one is fed its
            own, the last call filled up.
        read: gives an image's pixels [h, w, 3] in BGR order; called in threads.
        on_step: called with the number of images done so far.
        on_skip: called with each image that was left out, and why.

    Raises:
        DatasetError: an image cannot be decoded, unless those are skipped.
        DetqError: what the engine raises.
    """
    done = 0
    with _one_opencv_thread():
        for results, skipped in _Pipeline(runner, options, batch, read).run(iter(images)):
            for image, error in skipped:
                on_skip(image, error)
            yield from results
            done += len(results) + len(skipped)
            on_step(done)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Images on their way into ``inputs``."""

    images: list[ImageRef]
    inputs: Images
    reading: list[Future[Letterbox]]


class _Pipeline:
    def __init__(
        self, runner: Runner, options: InferenceOptions, batch: int, pixels_of: Read
    ) -> None:
        self._runner = runner
        self._pixels_of = pixels_of
        self._options = options
        self._batch = runner.batch or batch
        self._readers = max(1, min(_MOST_READERS, (os.cpu_count() or 1) - 1))

    def run(self, images: Iterator[ImageRef]) -> Iterator[tuple[Results, Skipped]]:
        """The results of one batch after the other."""
        readers = ThreadPoolExecutor(self._readers, "detq-read")
        behind = ThreadPoolExecutor(1, "detq-suppress")
        try:
            yield from self._run(images, readers, behind)
        finally:
            for threads in (readers, behind):
                threads.shutdown(cancel_futures=True)

    def _run(
        self, images: Iterator[ImageRef], readers: ThreadPoolExecutor, behind: ThreadPoolExecutor
    ) -> Iterator[tuple[Results, Skipped]]:
        free = deque(self._buffers())
        ahead: deque[_Batch] = deque()
        after: deque[Future[tuple[Results, Skipped]]] = deque()
        while True:
            while free and (chunk := list(itertools.islice(images, self._batch))):
                buffer = free.popleft()
                reading = [
                    readers.submit(self._read, image, planes)
                    for image, planes in zip(chunk, buffer, strict=False)
                ]
                ahead.append(_Batch(chunk, buffer, reading))
            while after and (after[0].done() or len(after) > _BATCHES_BEHIND or not ahead):
                yield after.popleft().result()
            if not ahead:
                return
            current = ahead.popleft()
            places, skipped = self._await(current)
            found = self._infer(current)
            free.append(current.inputs)
            after.append(behind.submit(self._finish, places, found, skipped))

    def _buffers(self) -> Iterator[Images]:
        # Enough for every reader to be two images ahead, and one in the engine.
        ahead = max(_BATCHES_AHEAD, -(-2 * self._readers // self._batch))
        return (empty_input(self._runner.detector, self._batch) for _ in range(ahead + 1))

    def _read(self, image: ImageRef, row: Images) -> Letterbox:
        detector = self._runner.detector
        pixels, place = letterbox(
            self._pixels_of(image),
            detector.size,
            shrink=self._options.shrink,
            pad=detector.preprocessing.pad,
        )
        write_input(pixels, detector, row)
        return place

    def _await(self, batch: _Batch) -> tuple[Places, Skipped]:
        """Which rows of the batch are images, and which images are not to be had."""
        places: Places = []
        skipped: Skipped = []
        for row, (image, reading) in enumerate(zip(batch.images, batch.reading, strict=True)):
            error = reading.exception()
            if isinstance(error, DatasetError) and self._options.skip_bad_images:
                skipped.append((image, error))
            else:
                places.append((row, image, reading.result()))
        return places, skipped

    def _infer(self, batch: _Batch) -> Floats | list[Detections]:
        """The engine's rows [B, L, 5 + nc], or what is left of them."""
        count = len(batch.inputs) if self._runner.batch else len(batch.images)
        outputs = self._runner(batch.inputs[:count])
        return found_in_output(outputs, self._runner.detector, count, self._runner.name)

    def _finish(
        self, places: Places, found: Floats | list[Detections], skipped: Skipped
    ) -> tuple[Results, Skipped]:
        results: Results = []
        for row, image, place in places:
            best = suppress(found[row], self._options)
            boxes = place.boxes_in_original(best.boxes)
            results.append((image, Detections(boxes, best.scores, best.classes)))
        return results, skipped


def found_in_output(
    outputs: Mapping[str, NDArray[Any]], detector: Detector, batch: int, where: str = ""
) -> Floats | list[Detections]:
    """Rows [B, L, 5 + nc]; of a file with the suppression inside, what it left of them.

    Args:
        outputs: of one run.
        detector: the contract of the file.
        batch: number of images that went in.
        where: what gave the outputs, for the error.

    Raises:
        ModelError: an output is missing, or of another form.
    """
    if detector.suppression is not None:
        return suppressed_output(outputs, detector, batch, where)
    return rows_of_output(next(iter(outputs.values())), detector, batch, where)


def suppress(found: Floats | Detections, options: InferenceOptions) -> Detections:
    """The boxes of one image in input pixels, of its rows [L, 5 + nc] or of what is left."""
    if isinstance(found, Detections):
        sure = np.flatnonzero(found.scores > options.confidence)[: options.max_detections]
        return Detections(found.boxes[sure], found.scores[sure], found.classes[sure])
    return non_max_suppression(
        found,
        confidence=options.confidence,
        iou=options.iou,
        max_detections=options.max_detections,
        multi_label=options.multi_label,
    )


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """OpenCV's own threads would take the cores from the engine."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
