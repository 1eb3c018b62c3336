"""Shapes that an engine is to take: of the batch and of the sizes that a file leaves open."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import onnx_ir as ir

from detq.errors import InputError
from detq.graph.files import DETECTOR, detector_from_metadata, load_model
from detq_deploy.trt.request import Profile, Shapes

if TYPE_CHECKING:
    import tensorrt as trt

T = TypeVar("T")
Span = tuple[T, T, T]
"""Least, usual and most."""

Size = tuple[int, int]

_COUNT = re.compile(r"[1-9]\d*")
_SIZE = re.compile(r"([1-9]\d*)(?:[xX]([1-9]\d*))?")


def batch_span(text: str) -> Span[int]:
    """``4``, or ``1:4:8`` for least, usual and most.

    Raises:
        InputError: not that.
    """
    return _span(text, "--batch", "give 4, or 1:4:8 for least, usual and most", _count)


def size_span(text: str) -> Span[Size]:
    """``640``, ``384x640`` (height x width), or three of them: least, usual and most.

    Raises:
        InputError: not that.
    """
    return _span(text, "--size", "give 640, 384x640, or 320:640:960", _size)


def profiles_for(
    path: Path, batches: Sequence[Span[int]] = (), sizes: Span[Size] | None = None
) -> tuple[Profile, ...]:
    """One profile for each of ``batches``, one image if there is none.

    Args:
        path: ONNX file.
        batches: numbers of images, where the file leaves them open.
        sizes: of the images in pixels, where the file leaves them open; that of its detector
            if not given.

    Returns:
        none where the file says every shape.

    Raises:
        InputError: no such file, not ONNX, a shape that the file has already, or none for one
            that it leaves open.
    """
    model = load_model(path)
    open_ = [value for value in model.graph.inputs if not _fixed(value)]
    _check(model, path, batches, sizes)
    if not open_:
        return ()
    size = sizes or _own_size(model, path)
    made = [
        {str(value.name): _shapes(value, batch, size, path) for value in open_}
        for batch in batches or ((1, 1, 1),)
    ]
    return tuple(made)


def add_profiles(
    builder: "trt.Builder", config: "trt.IBuilderConfig", profiles: Sequence[Profile]
) -> None:
    """Tell the builder about them."""
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for name, span in shapes.items():
            profile.set_shape(name, span.least, span.usual, span.most)
        config.add_optimization_profile(profile)


def _check(
    model: ir.Model, path: Path, batches: Sequence[Span[int]], sizes: Span[Size] | None
) -> None:
    images = model.graph.inputs[0]
    dims = list(images.shape or ())
    if len(batches) > 1 and all(map(_fixed, model.graph.inputs)):
        raise InputError("takes one shape", where=str(path), hint="give --batch once")
    if dims and isinstance(dims[0], int) and batches and batches[0] != (dims[0],) * 3:
        raise InputError(
            f"takes {dims[0]} images at a time", where=str(path),
            hint="leave --batch out, or write the file for any: detq export without --batch",
        )  # fmt: skip
    place = _size_at(dims)
    fixed = tuple(dim for dim in dims[place] if isinstance(dim, int))
    if sizes is not None and len(fixed) == 2 and sizes != (fixed,) * 3:
        raise InputError(
            f"takes images of {fixed[0]} x {fixed[1]}", where=str(path),
            hint="leave --size out, or write the file for another: detq export --size",
        )  # fmt: skip


def _fixed(value: ir.Value) -> bool:
    return value.shape is not None and all(isinstance(dim, int) for dim in value.shape)


def _own_size(model: ir.Model, path: Path) -> Span[Size] | None:
    if DETECTOR not in model.metadata_props:
        return None
    size = detector_from_metadata(model.metadata_props, str(path)).size
    return (size, size, size)


def _size_at(dims: Sequence[object]) -> slice:
    """Where height and width stand: behind the channels, or in front of them."""
    return slice(1, 3) if len(dims) == 4 and dims[3] == 3 else slice(2, 4)


def _shapes(value: ir.Value, batch: Span[int], size: Span[Size] | None, path: Path) -> Shapes:
    dims = list(value.shape or ())
    least, usual, most = (
        _shape(value, dims, batch[k], None if size is None else size[k], path) for k in range(3)
    )
    return Shapes(least=least, usual=usual, most=most)


def _shape(
    value: ir.Value, dims: Sequence[object], batch: int, size: Size | None, path: Path
) -> tuple[int, ...]:
    asked: list[object] = [batch, *[None] * (len(dims) - 1)]
    if size is not None and len(dims) == 4:
        asked[_size_at(dims)] = size
    wanted = [dim if isinstance(dim, int) else ask for dim, ask in zip(dims, asked, strict=False)]
    found = tuple(dim for dim in wanted if isinstance(dim, int))
    if not dims or len(found) != len(dims):
        raise InputError(
            f"sizes of {value.name} vary, and the file does not say for which to build",
            where=str(path),
            hint="give --size, or write the file for one: detq export --size",
        )
    return found


def _count(text: str) -> int | None:
    return int(text) if _COUNT.fullmatch(text) else None


def _size(text: str) -> Size | None:
    found = _SIZE.fullmatch(text)
    return None if found is None else (int(found[1]), int(found[2] or found[1]))


def _span(text: str, option: str, hint: str, read: Callable[[str], T | None]) -> Span[T]:
    parts = text.split(":")
    values = [value for part in parts if (value := read(part)) is not None]
    if len(values) != len(parts) or len(parts) not in (1, 3):
        raise InputError(f"{text!r} is no span", where=option, hint=hint)
    if len(values) == 1:
        values = values * 3
    if not _rising(values):
        raise InputError(f"{text} does not rise", where=option, hint=hint)
    return (values[0], values[1], values[2])


def _rising(values: Sequence[T]) -> bool:
    """In every dimension."""
    flat = [value if isinstance(value, tuple) else (value,) for value in values]
    return all(a <= b for low, high in pairwise(flat) for a, b in zip(low, high, strict=True))
