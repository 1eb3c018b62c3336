"""The network inside a training checkpoint, and what its records say of the detector."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from detq.torch_file.inert import Instance, PickleError
from detq.torch_file.module import Module
from detq.torch_file.modules import TreeReader
from detq.torch_file.unpickle import TorchFile, told_of

KEYS = ("ema", "model")  # the averaged weights where there are some, as the trainers take them
MOST_CLASSES = 10_000
STRIDES = (1, 2, 4, 8, 16, 32, 64, 128)


def entries_of(file: TorchFile) -> dict[Any, Any]:
    """What the file holds by name; empty where it is something else."""
    return file.content if isinstance(file.content, dict) else {}


def key_of_network(file: TorchFile) -> str:
    """The entry that holds the network to take.

    Raises:
        PickleError: there is none.
    """
    entries = entries_of(file)
    for key in KEYS:
        if isinstance(entries.get(key), Instance):
            return key
    raise PickleError("holds no whole model under ema or model; weights alone do not do")


def package_of(file: TorchFile, known: Collection[str]) -> str:
    """Top-level package of the network's class, one of ``known``.

    Raises:
        CheckpointError: there is no network, or it is of another package.
    """
    with told_of(file.path):
        network: Instance = entries_of(file)[key_of_network(file)]
        package = network.kind.partition(".")[0]
        if package not in known:
            raise PickleError(f"holds a {network.kind}, which is no known detector")
        return package


def read_network(file: TorchFile) -> Module:
    """The network with its arrays.

    Raises:
        PickleError: there is none, or a part of it is damaged.
    """
    key = key_of_network(file)
    return TreeReader(file, f"{key}.").module(entries_of(file)[key])


def class_count(head: Module) -> int:
    """Number of classes.

    Raises:
        CheckpointError: there are none, or too many.
    """
    count = head.integer("nc", 1)
    if count > MOST_CLASSES:
        raise head.damaged(f"nc is {count}")
    return count


def names_of(root: Module, count: int) -> tuple[str, ...] | None:
    """The model's own class names, or None where they are not one text per class."""
    found = root.attributes.get("names")
    if isinstance(found, dict) and set(found) == set(range(count)):
        found = [found[i] for i in range(count)]
    given = tuple(found) if isinstance(found, (list, tuple)) else ()
    if len(given) == count and all(isinstance(name, str) for name in given):
        return given
    return None


def numbered(count: int) -> tuple[str, ...]:
    """Names for classes that have none: a number is no guess."""
    return tuple(f"class_{i}" for i in range(count))


def strides_of(head: Module) -> tuple[int, ...]:
    """Pixels per cell of each level.

    Raises:
        CheckpointError: they are not a rising list of powers of two.
    """
    found = head.attributes.get("stride")
    values = found.tolist() if isinstance(found, np.ndarray) and found.ndim == 1 else found
    if not isinstance(values, (list, tuple)) or not values or len(values) > len(STRIDES):
        raise head.damaged("stride is not a list of numbers")
    if not _rise(values):
        raise head.damaged("stride is not a rising list of powers of two")
    return tuple(int(value) for value in values)


def _rise(values: Sequence[Any]) -> bool:
    return all(v in STRIDES for v in values) and sorted(set(values)) == list(values)
