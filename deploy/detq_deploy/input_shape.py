"""What a model takes, and whether images fit it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detq.errors import InputError

Shape = tuple[int | None, ...]  # None: a dimension that may vary


def only_input(shapes: Sequence[Shape], where: str) -> Shape:
    """The shape of the one input.

    Raises:
        InputError: the model has another number of inputs, or the input is no image batch.
    """
    if len(shapes) != 1:
        raise InputError(
            f"has {len(shapes)} inputs", where=where, hint="a detector takes one: the images"
        )
    if len(shapes[0]) != 4:
        raise InputError(
            f"takes {written(shapes[0])}", where=where, hint="a detector takes B x 3 x H x W"
        )
    return shapes[0]


def fitting(
    images: NDArray[Any], shape: Shape, where: str, *, pixels: bool = False
) -> NDArray[Any]:
    """``images`` as the engines want them, not copied where they are so already.

    Args:
        images: float32 [B, 3, H, W], or uint8 [B, H, W, 3].
        shape: that the file takes.
        where: the file, for the error.
        pixels: it takes uint8.

    Raises:
        InputError: a dimension or type differs from what the file fixed.
    """
    if pixels != (images.dtype == np.uint8):
        wants, got = ("uint8 B x H x W x 3", "floats") if pixels else ("floats", "uint8")
        raise InputError(
            f"takes images as {wants}, was given {got}",
            where=where,
            hint="letterboxed pixels as they are" if pixels else "prepare the images first",
        )
    fits = images.ndim == len(shape) and all(
        want in (None, got) for want, got in zip(shape, images.shape, strict=True)
    )
    if not fits:
        raise InputError(
            f"takes images of {written(shape)}, was given {written(images.shape)}",
            where=where,
            hint="export the model for that size and batch, or change the images",
        )
    return np.ascontiguousarray(images, dtype=np.uint8 if pixels else np.float32)


def written(shape: Shape) -> str:
    """``1 x 3 x 640 x 640``; a dimension that may vary is ``any``."""
    return " x ".join("any" if n is None else str(n) for n in shape)
