"""A trained checkpoint as a record."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from detq.run_dir import file_hash
from detq.torch_file.module import Module
from detq.torch_file.network import class_count, names_of, numbered, read_network, strides_of
from detq.torch_file.unpickle import TorchFile, read_torch_file, told_of

PACKAGE = "ultralytics"  # whose classes a checkpoint names
DETECTION = "ultralytics.nn.tasks.DetectionModel"
CONFIG = re.compile(r"([\w.-]{1,40})\.ya?ml", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is needed of a checkpoint, read without running any of it.

    Attributes:
        path: the file.
        sha256: of its bytes, hexadecimal.
        root: the network; weights are float32 whatever the file holds.
        layers: what the network is a list of, in its order; the head is the last.
        family: such as ``Ultralytics yolov8n``, as the records name their configuration.
        names: class names in the order of the scores.
        strides: pixels per cell of each level of the head.
    """

    path: Path
    sha256: str
    root: Module = field(repr=False)
    layers: tuple[Module, ...] = field(repr=False)
    family: str
    names: tuple[str, ...]
    strides: tuple[int, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of a detector.

    Nothing in the file is imported or run, and its name says nothing.

    Raises:
        CheckpointError: it cannot be read, is damaged, holds NaN or infinity, or is no
            Ultralytics checkpoint.
        UnsupportedBlockError: its network does something else than detect.
    """
    return checkpoint_from_file(read_torch_file(path, [PACKAGE]))


def checkpoint_from_file(file: TorchFile) -> Checkpoint:
    """The same from a file whose structure was read before.

    Raises:
        CheckpointError: as ``read_checkpoint``.
        UnsupportedBlockError: as ``read_checkpoint``.
    """
    with told_of(file.path):
        root = read_network(file)
        layers = _layers(root)
        count = class_count(layers[-1])
        return Checkpoint(
            path=file.path,
            sha256=file_hash(file.path),
            root=root,
            layers=layers,
            family=_family(root),
            names=names_of(root, count) or numbered(count),
            strides=strides_of(layers[-1]),
        )


def _layers(root: Module) -> tuple[Module, ...]:
    if root.kind != DETECTION:
        raise root.unsupported("only a DetectionModel is read")
    layers = tuple(root.child("model").children.values())
    if not layers or [layer.attributes.get("i") for layer in layers] != [*range(len(layers))]:
        raise root.child("model").damaged("its layers are not numbered from 0")
    return layers


def _family(root: Module) -> str:
    config = root.attributes.get("yaml")
    name = config.get("yaml_file") if isinstance(config, dict) else None
    known = CONFIG.fullmatch(Path(name).name) if isinstance(name, str) else None
    return f"Ultralytics {known[1]}" if known else "Ultralytics"
