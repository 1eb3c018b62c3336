"""The image input, and the size it is fixed to."""

from pathlib import Path
from typing import Any

import onnx_ir as ir

from detq.errors import InputError

LARGEST_SIZE = 8192  # pixels; a constant is kept for every cell
LARGEST_BATCH = 1024
BATCH = "N"
Pair = tuple[int, int]


def images_of(graph: ir.Graph, path: Path) -> ir.Value:
    """The one input that is not a weight: floats of B x 3 x H x W.

    Raises:
        InputError: it is not like that.
    """
    inputs = [value for value in graph.inputs if not value.is_initializer()]
    if len(inputs) != 1:
        raise InputError(
            f"has {len(inputs)} inputs", where=str(path), hint="a detector takes one: the images"
        )
    images = inputs[0]
    dims = _dims(images)
    if len(dims) != 4 or dims[1] not in (3, None) or not 0 < (dims[0] or 1) <= LARGEST_BATCH:
        written = " x ".join("any" if n is None else str(n) for n in dims) or "any shape"
        raise InputError(
            f"takes {written}", where=f"{path} {images.name}", hint="a detector takes B x 3 x H x W"
        )
    if images.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
        raise InputError(
            f"takes images of {images.dtype.name if images.dtype else 'an unknown type'}",
            where=f"{path} {images.name}",
            hint="export it for float images of 0 to 1, RGB",
        )
    return images


def fix_size(images: ir.Value, size: Pair | None, advised: Pair | None, path: Path) -> Pair:
    """Put height and width into the shape of the input; the batch stays as it is.

    Args:
        images: from ``images_of``; changed.
        size: asked for.
        advised: what the metadata says, for a graph that takes any size.
        path: for errors.

    Raises:
        InputError: the graph is for another size, or nothing says which.
    """
    batch, _, *stated = _dims(images)
    wanted = size or advised or (None, None)
    chosen = [given or want for given, want in zip(stated, wanted, strict=True)]
    if size is not None and chosen != list(size):
        raise InputError(
            f"is made for images of {_written(stated)}, not {_written(size)}",
            where=str(path),
            hint="leave the size out, or export it again",
        )
    if None in chosen:
        raise InputError("takes images of any size", where=str(path), hint="give --size")
    height, width = (int(n or 0) for n in chosen)
    if not 1 <= min(height, width) <= max(height, width) <= LARGEST_SIZE:
        raise InputError(
            f"images of {height}x{width}", where=str(path), hint=f"at most {LARGEST_SIZE} pixels"
        )
    images.shape = ir.Shape([BATCH if batch is None else batch, 3, height, width])
    return height, width


def _dims(value: ir.Value) -> tuple[int | None, ...]:
    shape: Any = () if value.shape is None else value.shape
    return tuple(n if isinstance(n, int) else None for n in shape)


def _written(size: Any) -> str:
    return "x".join("any" if n is None else str(n) for n in size)
