"""What a contender is fed: noise, or images of the user's that are already prepared."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from detq.errors import InputError
from detq.graph.files import load_model
from detq.runner import Runner

KEY = "images"
_RANDOM_BATCHES = 4


def input_size(path: Path, run: Runner) -> tuple[int, int]:
    """Height and width that a model takes: the file's own, else those of its contract.

    Raises:
        InputError: neither says; a size has to be given.
    """
    if path.suffix.lower() == ".onnx":
        images = load_model(path).graph.inputs[0]
        if images.shape is not None and len(images.shape) == 4:
            height, width = images.shape[1:3] if takes_pixels(run) else images.shape[2:]
            if isinstance(height, int) and isinstance(width, int):
                return height, width
    fixed: tuple[int, int] | None = getattr(run, "size", None)  # of an engine
    if fixed is not None:
        return fixed
    try:
        return run.detector.size
    except InputError as error:
        raise InputError(
            "takes any size of image", where=str(path), hint="say which size to time"
        ) from error


def takes_pixels(run: Runner) -> bool:
    """Whether a model takes uint8 [B, H, W, 3]."""
    try:
        return run.detector.takes_pixels
    except InputError:
        return False  # not written by detq


def batches(
    batch: int, size: tuple[int, int], images: str | None, *, pixels: bool = False
) -> list[NDArray[Any]]:
    """Contiguous float32 [batch, 3, H, W] arrays to run one after the other.

    Args:
        batch: images in each.
        size: height and width.
        images: an ``.npz`` file with the array ``images``, float32 [n, 3, H, W] as the
            network takes them; uniform noise in 0…1 if None. The last batch is filled up
            from the beginning.
        pixels: uint8 [batch, H, W, 3] instead, noise in 0…255.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    if images is None:
        noise = np.random.default_rng(0)
        if pixels:
            whole = (batch, *size, 3)
            return [noise.integers(0, 256, whole, np.uint8) for _ in range(_RANDOM_BATCHES)]
        shape = (batch, 3, *size)
        return [noise.random(shape, np.float32) for _ in range(_RANDOM_BATCHES)]
    if pixels:
        raise InputError(
            "holds prepared images, and the model prepares them itself",
            where=images,
            hint="time a file without preprocessing",
        )
    given = _load(Path(images), size)
    count = -(-len(given) // batch)
    order = np.arange(count * batch).reshape(count, batch) % len(given)
    return [np.ascontiguousarray(given[rows], np.float32) for rows in order]


def _load(path: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    try:
        with path.open("rb") as stream:
            given: NDArray[np.float32] = np.load(stream, allow_pickle=False)[KEY]
    except (OSError, EOFError, BadZipFile, LookupError, ValueError) as error:
        raise InputError(
            "holds no prepared images", where=str(path), hint=f"an .npz with the array {KEY}"
        ) from error
    if given.ndim != 4 or given.shape[1:] != (3, *size) or len(given) == 0:
        raise InputError(
            f"holds images of {' x '.join(map(str, given.shape))}",
            where=str(path),
            hint=f"the model takes n x 3 x {size[0]} x {size[1]}",
        )
    if given.dtype != np.float32:
        raise InputError(
            f"holds images of type {given.dtype}", where=str(path), hint="store float32"
        )
    return given
