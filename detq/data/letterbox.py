"""The official way from an image to a network's input, and of boxes back.

Two steps. The image is resized so that it fits the frame, its sides cut to whole pixels
(areas averaged when it shrinks, bilinear when it grows); then it is centred on grey, and made
smaller once more where it should not fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detq.detection import Detector, Preprocessing
from detq.errors import InputError

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Size = tuple[int, int]  # height, width

GREY = 114


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where an image lies in the network's input.

    Attributes:
        ratio_hw: pixels of the input per pixel of the image, downwards and across.
        pad_left_top: grey pixels left of the image and above it.
        original: height and width of the image.
        network: height and width of the input.
    """

    ratio_hw: tuple[float, float]
    pad_left_top: tuple[float, float]
    original: Size
    network: Size

    def boxes_in_original(self, boxes: Floats) -> Floats:
        """Left, top, right, bottom [n, 4] in pixels of the image, clipped to it."""
        (high, wide), (left, top), (height, width) = self.ratio_hw, self.pad_left_top, self.original
        pad = np.array((left, top, left, top), np.float32)
        ratio = np.array((wide, high, wide, high), np.float32)
        limit = np.array((width, height, width, height), np.float32)
        result: Floats = np.clip((boxes - pad) / ratio, np.float32(0), limit)
        return result


def letterbox(
    image: Pixels, size: Size, *, shrink: int = 0, pad: int = GREY, frame: Size | None = None
) -> tuple[Pixels, Letterbox]:
    """The input for evaluation and calibration: the whole image on grey, enlarged if small.

    Args:
        image: uint8 [h, w, 3].
        size: height and width of the result.
        shrink: pixels that the image stays smaller than the frame, in both directions.
        pad: grey value 0…255.
        frame: what the image is fitted to at first, if not ``size``: the official evaluation
            on rectangles fits to the square and then pads to the batch's shape.

    Raises:
        InputError: ``shrink`` leaves nothing of a side.
    """
    height, width = frame or size
    if shrink >= min(height, width):
        raise InputError(
            f"{shrink} pixels leave nothing of {height} x {width}",
            where="shrink",
            hint="give fewer than the short side has",
        )
    resized = _resize_to_fit(image, (height - shrink, width - shrink))
    boxed, second = centre(resized, size, enlarge=False, pad=pad)
    (h, w), (h0, w0), ratio = resized.shape[:2], image.shape[:2], second.ratio_hw[0]
    whole = (h * ratio / h0, w * ratio / w0)
    return boxed, Letterbox(whole, second.pad_left_top, (h0, w0), second.network)


def centre(
    image: Pixels,
    size: Size,
    *,
    enlarge: bool = True,
    stride: int | None = None,
    pad: int = GREY,
) -> tuple[Pixels, Letterbox]:
    """One bilinear resize and grey around it: the second step, and the official inference.

    Args:
        image: uint8 [h, w, 3].
        size: height and width of the result, or its upper limit with ``stride``.
        enlarge: a small image grows, else it keeps its size.
        stride: add no more grey than makes the sides fit this many pixels.
        pad: grey value 0…255.
    """
    h, w = image.shape[:2]
    ratio = min(size[0] / h, size[1] / w)
    ratio = ratio if enlarge else min(ratio, 1.0)
    inner = (max(round(h * ratio), 1), max(round(w * ratio), 1))
    if inner != (h, w):
        image = _resized(image, inner, cv2.INTER_LINEAR)
    gaps = (size[0] - inner[0], size[1] - inner[1])
    # An odd gap leaves its larger part at the bottom and at the right.
    (top, bottom), (left, right) = (
        (round(gap / 2 - 0.1), round(gap / 2 + 0.1))
        for gap in (gaps if stride is None else (gap % stride for gap in gaps))
    )
    boxed: Pixels = cv2.copyMakeBorder(  # type: ignore[assignment]
        image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(pad, pad, pad)
    )
    network = (boxed.shape[0], boxed.shape[1])
    return boxed, Letterbox((ratio, ratio), (left, top), (h, w), network)


def empty_input(detector: Detector, batch: int) -> NDArray[Any]:
    """Zeros as a file takes its images: float32 [B, 3, H, W], or uint8 [B, H, W, 3]."""
    if detector.takes_pixels:
        return np.zeros((batch, *detector.size, 3), np.uint8)
    return np.zeros((batch, 3, *detector.size), np.float32)


def write_input(image: Pixels, detector: Detector, row: NDArray[Any]) -> None:
    """One letterboxed BGR image into a row of ``empty_input``."""
    if detector.takes_pixels:
        row[...] = image
    else:
        write_planes(image, detector.preprocessing, row)


def network_input(images: Sequence[Pixels], preprocessing: Preprocessing) -> Floats:
    """Letterboxed images of one size as float32 [B, 3, H, W]."""
    height, width = images[0].shape[:2]
    batch = np.empty((len(images), 3, height, width), np.float32)
    for image, planes in zip(images, batch, strict=True):
        write_planes(image, preprocessing, planes)
    return batch


def write_planes(image: Pixels, preprocessing: Preprocessing, planes: Floats) -> None:
    """One BGR image [H, W, 3] into ``planes`` [3, H, W].

    A look-up gives the float32 nearest to value times scale, which for 1 / 255 is what
    dividing by 255 in float32 gives; multiplying in float32 would miss it for some values.
    """
    table = _values(preprocessing.scale)
    for plane, channel in zip(planes, preprocessing.channels, strict=True):
        cv2.LUT(cv2.extractChannel(image, "BGR".index(channel)), table, dst=plane)


@lru_cache(maxsize=8)
def _values(scale: float) -> Floats:
    return (np.arange(256) * scale).astype(np.float32)


def _resize_to_fit(image: Pixels, frame: Size) -> Pixels:
    h, w = image.shape[:2]
    ratio = min(frame[0] / h, frame[1] / w)
    if ratio == 1:
        return image
    size = (max(int(h * ratio), 1), max(int(w * ratio), 1))
    return _resized(image, size, cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR)


def _resized(image: Pixels, size: Size, interpolation: int) -> Pixels:
    result: Pixels = cv2.resize(image, size[::-1], interpolation=interpolation)  # type: ignore[assignment]
    return result
