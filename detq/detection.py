"""What a detector promises about its input and output, and what it finds.

These records travel inside the ONNX file, so that the file alone is enough to run it.
"""

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray


class Preprocessing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From an image file to the network's input.

    Attributes:
        channels: order of the colour planes, ``RGB`` or ``BGR``.
        scale: factor from 0…255 to the network's range.
        pad: grey value around the letterboxed image, 0…255.
    """

    channels: str = "RGB"
    scale: float = 1 / 255
    pad: int = 114


class Detector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The contract of a detector's ONNX file.

    Input ``images``: float32 [B, 3, H, W]. Output ``outputs``: float32 [B, L, 5 + nc],
    rows of centre x, centre y, width, height in input pixels, objectness, class scores.

    Attributes:
        family: such as ``YOLOv6 N``, for people.
        names: class names in the order of the scores.
        strides: pixels per cell of each level.
        size: height and width of the input in pixels.
        preprocessing: how the input is made.
        source: file name and sha256 of what the model was read from.
    """

    family: str
    names: tuple[str, ...]
    strides: tuple[int, ...]
    size: tuple[int, int]
    preprocessing: Preprocessing = Preprocessing()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found in one image, best first.

    Attributes:
        boxes: float32 [n, 4], left, top, right, bottom in pixels of the original image.
        scores: float32 [n], 0…1.
        classes: int64 [n], index into ``Detector.names``.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)
