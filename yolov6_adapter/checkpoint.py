"""A trained checkpoint as a record."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from detq.run_dir import file_hash
from detq.torch_file.module import Module
from detq.torch_file.network import (
    class_count,
    entries_of,
    key_of_network,
    names_of,
    numbered,
    read_network,
    strides_of,
)
from detq.torch_file.unpickle import TorchFile, read_torch_file, told_of
from yolov6_adapter.coco_names import COCO_NAMES
from yolov6_adapter.family import family_of, variant_of

PACKAGE = "yolov6"  # whose classes a checkpoint names


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
    return checkpoint_from_file(read_torch_file(path, [PACKAGE]))


def checkpoint_from_file(file: TorchFile) -> Checkpoint:
    """The same from a file whose structure was read before.

    Raises:
        CheckpointError: as ``read_checkpoint``.
    """
    with told_of(file.path):
        root = read_network(file)
        head, epoch = root.child("detect"), entries_of(file).get("epoch")
        return Checkpoint(
            path=file.path,
            sha256=file_hash(file.path),
            key=key_of_network(file),
            root=root,
            family=family_of(root),
            variant=variant_of(root),
            names=_names(root, class_count(head)),
            strides=strides_of(head),
            epoch=epoch if type(epoch) is int and epoch >= 0 else None,
            results=tuple(_numbers(entries_of(file).get("results"))),
        )


def _names(root: Module, count: int) -> tuple[str, ...]:
    """Names in the model; else COCO's for 80 classes; else numbers."""
    of_coco = COCO_NAMES if count == len(COCO_NAMES) else None
    return names_of(root, count) or of_coco or numbered(count)


def _numbers(found: object) -> Iterator[float]:
    if isinstance(found, (list, tuple)):
        yield from (float(n) for n in found[:100] if isinstance(n, (int, float)))
