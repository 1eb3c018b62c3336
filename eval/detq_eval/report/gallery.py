"""The images on which two models disagree most, with the boxes of both.

Of an image, the disagreement is the sum of the scores of the boxes that only one model has and
of how far the scores of the others moved. Which boxes belong together is decided as in
``detq_eval.agreement``.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from detq.data.images import ImageRef, read_image
from detq.detection import Detections
from detq.errors import DatasetError
from detq_eval.agreement import CONFIDENCE, found_in_files, partners

COUNT = 16  # images
SIDE = 560  # pixels of the longer side
QUALITY = 78  # of the JPEG


class Box(msgspec.Struct, frozen=True):
    """One detection above the confidence.

    Attributes:
        name: of the class.
        score: 0 to 1.
        box: left, top, right, bottom in pixels of the original image.
        alone: the other model does not have it, with any score.
    """

    name: str
    score: float
    box: tuple[float, float, float, float]
    alone: bool


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """One image with what both models found.

    Attributes:
        name: of the file.
        width: pixels of the original image.
        height: pixels of the original image.
        jpeg: the image at most ``SIDE`` pixels long, base64.
        disagreement: 0 and more.
        reference: boxes of the float model.
        other: boxes of the INT8 model.
    """

    name: str
    width: int
    height: int
    jpeg: str
    disagreement: float
    reference: tuple[Box, ...]
    other: tuple[Box, ...]


class Gallery(msgspec.Struct, frozen=True, kw_only=True):
    """What ``gallery.json`` holds.

    Attributes:
        label: of the INT8 model.
        backend: engine of both.
        images: how many were compared.
        confidence: score above which a box counts.
        differing: images where a box is missed or invented.
        pictures: the worst first.
    """

    label: str
    backend: str
    images: int
    confidence: float
    differing: int
    pictures: tuple[Picture, ...]


def gallery(
    reference: Path,
    other: Path,
    refs: Sequence[ImageRef],
    names: Mapping[int, str],
    *,
    label: str,
    backend: str,
    count: int = COUNT,
) -> Gallery:
    """Compare two files of detections and look at the worst images.

    Args:
        reference: detections of the float model in COCO's form.
        other: those of the INT8 model.
        refs: the images both were run on; one that cannot be read is passed over.
        names: category id → class name.
        label: of the INT8 model.
        backend: engine of both.
        count: images to show at most.
    """
    wanted, got, categories = found_in_files(reference, other)
    classes = [names.get(category, str(category)) for category in categories]
    shown = [_compared(one, two, classes) for (_, one), (_, two) in zip(wanted, got, strict=True)]
    paths = {ref.id: ref.path for ref in refs}
    order = sorted(range(len(shown)), key=lambda index: -shown[index][0])
    pictures: list[Picture] = []
    for index in order:
        disagreement, ours, theirs = shown[index]
        path = paths.get(wanted[index][0].id)
        if len(pictures) == count or disagreement <= 0:
            break
        pixels = None if path is None else _pixels(path)
        if path is None or pixels is None:
            continue
        pictures.append(
            Picture(
                name=path.name,
                width=pixels.shape[1],
                height=pixels.shape[0],
                jpeg=_thumb(pixels),
                disagreement=disagreement,
                reference=ours,
                other=theirs,
            )
        )
    differing = sum(any(b.alone for b in (*ours, *theirs)) for _, ours, theirs in shown)
    return Gallery(
        label=label,
        backend=backend,
        images=len(refs),
        confidence=CONFIDENCE,
        differing=differing,
        pictures=tuple(pictures),
    )


def _compared(
    wanted: Detections, got: Detections, names: Sequence[str]
) -> tuple[float, tuple[Box, ...], tuple[Box, ...]]:
    """Disagreement and boxes of one image."""
    partner = partners(wanted, got)
    has = partner >= 0
    seen, shown = wanted.scores > CONFIDENCE, got.scores > CONFIDENCE
    taken = np.zeros(len(got), np.bool_)
    taken[partner[has]] = True
    pairs = has.copy()
    pairs[has] = seen[has] | shown[partner[has]]  # a pair counts if either of its boxes is shown
    moved = np.abs(wanted.scores[pairs].astype(np.float64) - got.scores[partner[pairs]])
    alone = [wanted.scores[seen & ~has], got.scores[shown & ~taken]]
    total = float(moved.sum() + sum(scores.sum(dtype=np.float64) for scores in alone))
    return total, _boxes(wanted, seen, ~has, names), _boxes(got, shown, ~taken, names)


def _boxes(
    found: Detections, shown: NDArray[np.bool_], alone: NDArray[np.bool_], names: Sequence[str]
) -> tuple[Box, ...]:
    return tuple(
        Box(
            names[int(found.classes[i])],
            float(found.scores[i]),
            tuple(found.boxes[i].tolist()),
            bool(alone[i]),
        )
        for i in np.flatnonzero(shown)
    )


def _pixels(path: Path) -> NDArray[np.uint8] | None:
    try:
        return read_image(path)
    except DatasetError:
        return None


def _thumb(pixels: NDArray[np.uint8]) -> str:
    factor = SIDE / max(pixels.shape[:2])
    small = pixels
    if factor < 1:
        small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    _, content = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return base64.b64encode(content.tobytes()).decode()
