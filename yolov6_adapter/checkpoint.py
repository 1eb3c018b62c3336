"""A trained checkpoint as a record."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from detq.errors import CheckpointError
from yolov6_adapter.coco_names import COCO_NAMES
from yolov6_adapter.family import family_of, variant_of
from yolov6_adapter.inert import Instance, PickleError
from yolov6_adapter.module import Module
from yolov6_adapter.modules import TreeReader
from yolov6_adapter.unpickle import HINT, read_torch_file

MOST_CLASSES = 10_000
STRIDES = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is needed of a checkpoint, read without running any of it.

    Attributes:
        path: the file.
        sha256: of its bytes, hexadecimal.
        key: the entry the network was taken from, ``ema`` or ``model``.
        root: the network; weights are float32 whatever the file holds.
        family: ``YOLOv6`` or ``YOLOv6Lite``.
        variant: letter and form, such as ``N``, ``M6`` or ``S QARepVGG``, from the records.
        names: class names in the order of the scores.
        strides: pixels per cell of each level of the head.
        epoch: last epoch of the training, or None.
        results: what the training measured, or empty.
    """

    path: Path
    sha256: str
    key: str
    root: Module = field(repr=False)
    family: str
    variant: str
    names: tuple[str, ...]
    strides: tuple[int, ...]
    epoch: int | None
    results: tuple[float, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of any YOLOv6 generation.

    Nothing in the file is imported or run, and its name says nothing.

    Raises:
        CheckpointError: it cannot be read, is damaged, holds NaN or infinity, or is no
            YOLOv6 checkpoint.
    """
    file = read_torch_file(path)
    try:
        entries = file.content if isinstance(file.content, dict) else {}
        key = _key(entries)
        root = TreeReader(file, f"{key}.").module(entries[key])
        return _checkpoint(path, key, root, entries)
    except PickleError as error:
        raise CheckpointError(str(error), where=str(path), hint=HINT) from error


def _key(entries: dict[Any, Any]) -> str:
    """The averaged weights where there are some, as YOLOv6 itself takes them."""
    for key in ("ema", "model"):
        if isinstance(entries.get(key), Instance):
            return key
    raise PickleError("holds no whole model under ema or model; weights alone do not do")


def _checkpoint(path: Path, key: str, root: Module, entries: dict[Any, Any]) -> Checkpoint:
    epoch = entries.get("epoch")
    return Checkpoint(
        path=path,
        sha256=_sha256(path),
        key=key,
        root=root,
        family=family_of(root),
        variant=variant_of(root),
        names=_names(root),
        strides=_strides(root),
        epoch=epoch if type(epoch) is int and epoch >= 0 else None,
        results=tuple(_numbers(entries.get("results"))),
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            digest.update(part)
    return digest.hexdigest()


def _names(root: Module) -> tuple[str, ...]:
    """Names in the model; else COCO's for 80 classes; else numbers, never a guess."""
    count = root.child("detect").integer("nc", 1)
    if count > MOST_CLASSES:
        raise root.child("detect").damaged(f"nc is {count}")
    found = root.attributes.get("names")
    if isinstance(found, dict) and set(found) == set(range(count)):
        found = [found[i] for i in range(count)]
    given = tuple(found) if isinstance(found, (list, tuple)) else ()
    if len(given) == count and all(isinstance(name, str) for name in given):
        return given
    return COCO_NAMES if count == len(COCO_NAMES) else tuple(f"class_{i}" for i in range(count))


def _strides(root: Module) -> tuple[int, ...]:
    head = root.child("detect")
    found = head.attributes.get("stride")
    values = found.tolist() if isinstance(found, np.ndarray) and found.ndim == 1 else found
    if not isinstance(values, (list, tuple)) or not values or len(values) > len(STRIDES):
        raise head.damaged("stride is not a list of numbers")
    if not all(value in STRIDES for value in values) or sorted(set(values)) != list(values):
        raise head.damaged("stride is not a rising list of powers of two")
    return tuple(int(value) for value in values)


def _numbers(found: object) -> Iterator[float]:
    if isinstance(found, (list, tuple)):
        yield from (float(n) for n in found[:100] if isinstance(n, (int, float)))
