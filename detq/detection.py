"""What a detector promises about its input and output, and what it finds.

These records travel inside the ONNX file, so that the file alone is enough to run it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from detq.errors import ModelError

Layout: TypeAlias = Literal["rows", "channels"]
SuppressedBy: TypeAlias = Literal["efficient", "onnx"]

# Outputs of a file with the suppression inside, for B images: int32 [B, 1], how many of the
# rows behind are boxes; float32 [B, M, 4], sides in input pixels; float32 [B, M]; int32 [B, M].
NUM_DETS, DET_BOXES, DET_SCORES, DET_CLASSES = SUPPRESSED = (
    "num_dets",
    "det_boxes",
    "det_scores",
    "det_classes",
)

BOX = 4  # columns: centre x, centre y, width, height


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


class Suppression(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Class-wise non-maximum suppression that is part of a file.

    Attributes:
        by: ``efficient`` is TensorRT's plugin EfficientNMS_TRT, ``onnx`` the operator
            NonMaxSuppression.
        confidence: lowest score, exclusive.
        iou: largest overlap that is kept, inclusive.
        max_detections: per image.
    """

    by: SuppressedBy
    confidence: float
    iou: float
    max_detections: int


class Detector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The contract of a detector's ONNX file.

    The input is float32 [B, 3, H, W]. The first output is float32 [B, L, 5 + nc]: rows of
    centre x, centre y, width, height in input pixels, objectness, class scores. Files that
    detq did not write may leave the objectness out, or have the columns in dimension 1;
    ``rows_of_output`` reads them all.

    Attributes:
        family: such as ``YOLOv6 N``, for people.
        names: class names in the order of the scores.
        strides: pixels per cell of each level.
        size: height and width of the input in pixels.
        preprocessing: how the input is made.
        source: file name and sha256 of what the model was read from.
        layout: of the first output: ``rows`` [B, L, columns] or ``channels`` [B, columns, L].
        suppression: is inside, and the outputs are ``SUPPRESSED``; None leaves it to the reader.
        takes_pixels: the preprocessing is inside, and the input is uint8 [B, H, W, 3]: blue,
            green, red of letterboxed images.
    """

    family: str
    names: tuple[str, ...]
    strides: tuple[int, ...]
    size: tuple[int, int]
    preprocessing: Preprocessing = Preprocessing()
    source: str = ""
    layout: Layout = "rows"
    suppression: Suppression | None = None
    takes_pixels: bool = False


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


def rows_of_output(
    output: NDArray[Any], detector: Detector, batch: int, where: str = ""
) -> NDArray[np.float32]:
    """The first output of a detector as rows float32 [B, L, 5 + nc], contiguous.

    Args:
        output: [B, L, columns] or [B, columns, L], as ``detector`` says; without an
            objectness, which is 1 then, a row has one column less.
        detector: the contract of the file.
        batch: number of images that went in.
        where: what gave the output, for the error.

    Raises:
        ModelError: the output is of another form.
    """
    whole = BOX + 1 + len(detector.names)
    turned = detector.layout == "channels"
    rows = output.swapaxes(1, 2) if turned and output.ndim == 3 else output
    if rows.ndim != 3 or len(rows) != batch or rows.shape[2] not in (whole, whole - 1):
        promised = f"[{batch}, {whole}, boxes]" if turned else f"[{batch}, boxes, {whole}]"
        raise ModelError(
            f"gives {list(output.shape)} where {promised} is promised",
            where=where,
            hint="rows are a box, objectness and one score per class",
        )
    if rows.shape[2] == whole:
        return np.ascontiguousarray(rows, np.float32)
    filled = np.ones((*rows.shape[:2], whole), np.float32)
    filled[..., :BOX], filled[..., BOX + 1 :] = rows[..., :BOX], rows[..., BOX:]
    return filled


def suppressed_output(
    outputs: Mapping[str, NDArray[Any]], detector: Detector, batch: int, where: str = ""
) -> list[Detections]:
    """What a file with the suppression inside found, in pixels of the network's input.

    Args:
        outputs: of one run; ``SUPPRESSED`` says which.
        detector: the contract of the file.
        batch: number of images that went in.
        where: what gave the outputs, for the error.

    Raises:
        ModelError: an output is missing, or of another form.
    """
    limit = detector.suppression.max_detections if detector.suppression is not None else 0
    shapes = [(batch, 1), (batch, limit, BOX), (batch, limit), (batch, limit)]
    found = [outputs[name].shape if name in outputs else None for name in SUPPRESSED]
    if found != shapes:
        raise ModelError(
            f"gives {_named(found)} where {_named(shapes)} is promised",
            where=where,
            hint="write the file again",
        )
    return [
        Detections(
            np.ascontiguousarray(outputs[DET_BOXES][row, :count], np.float32),
            np.ascontiguousarray(outputs[DET_SCORES][row, :count], np.float32),
            outputs[DET_CLASSES][row, :count].astype(np.int64),
        )
        for row, count in enumerate(outputs[NUM_DETS][:, 0].tolist())
    ]


def _named(shapes: Sequence[tuple[int, ...] | None]) -> str:
    pairs = zip(SUPPRESSED, shapes, strict=True)
    return ", ".join(f"{name} {'missing' if s is None else list(s)}" for name, s in pairs)
