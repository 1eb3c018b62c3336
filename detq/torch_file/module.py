"""One module of a network as a record: class, attributes, arrays, children."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detq.errors import CheckpointError, UnsupportedBlockError

Array = NDArray[np.float32]
LARGEST = 1 << 20  # strides, paddings, class counts: more than this is damage


@dataclass(frozen=True, slots=True)
class Module:
    """A module, read-only; the accessors name the place when something is not there.

    Attributes:
        kind: full dotted name of its class.
        path: place in the network as in the state dict; empty for the root.
        attributes: what else the object held, such as ``stride`` or ``eps``.
        arrays: parameters and buffers, float32; integer buffers keep their type.
        children: modules inside, in their order.
    """

    kind: str
    path: str
    attributes: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    children: Mapping[str, "Module"]

    @property
    def name(self) -> str:
        """Class name without its modules."""
        return self.kind.rpartition(".")[2]

    @property
    def key(self) -> str:
        """Last part of the path."""
        return self.path.rpartition(".")[2]

    def child(self, name: str) -> "Module":
        """The module inside; a missing one makes the block unknown."""
        if name not in self.children:
            raise UnsupportedBlockError(
                f"{self.kind} without a module {name!r} is an unknown form of it", where=self.path
            )
        return self.children[name]

    def has(self, name: str) -> bool:
        """Whether an optional module is there; it must be said to be None if it is not."""
        if name in self.children:
            return True
        if self.attributes.get(name, self) is None:
            return False
        raise self.unsupported(f"it does not say whether it has {name!r}")

    def array(self, name: str, dimensions: int) -> Array:
        """A parameter or buffer with this many dimensions."""
        found = self.arrays.get(name)
        if found is None or found.dtype != np.float32 or found.ndim != dimensions:
            raise self.damaged(f"{name} is not an array of {dimensions} dimensions")
        return found

    def optional_array(self, name: str, dimensions: int) -> Array | None:
        """As ``array``, or None where the module has none."""
        return None if self.arrays.get(name) is None else self.array(name, dimensions)

    def integer(self, name: str, least: int = 0) -> int:
        """A whole number."""
        found = self.attributes.get(name)
        if type(found) is not int or not least <= found <= LARGEST:
            raise self.damaged(f"{name} is {_short(found)}")
        return found

    def number(self, name: str) -> float:
        """A finite number."""
        found = self.attributes.get(name)
        number = isinstance(found, (int, float)) and not isinstance(found, bool)
        if found is None or not number or not math.isfinite(found):
            raise self.damaged(f"{name} is {_short(found)}")
        return float(found)

    def pair(self, name: str, least: int = 0) -> tuple[int, int]:
        """Two whole numbers for height and width; one number stands for both."""
        found = self.attributes.get(name)
        both = found if isinstance(found, (tuple, list)) else (found, found)
        if len(both) != 2 or not all(type(n) is int and least <= n <= LARGEST for n in both):
            raise self.damaged(f"{name} is {_short(found)}")
        return both[0], both[1]

    def flag(self, name: str) -> bool:
        """A switch."""
        found = self.attributes.get(name)
        if type(found) is not bool:
            raise self.damaged(f"{name} is {_short(found)}")
        return found

    def damaged(self, what: str) -> CheckpointError:
        """An error at this place."""
        return CheckpointError(
            what, where=self.path, hint=f"the {self.name} there is damaged or was changed by hand"
        )

    def unsupported(self, what: str) -> UnsupportedBlockError:
        """An error for a form of the module that has no builder."""
        return UnsupportedBlockError(f"{self.kind}: {what}", where=self.path)


def _short(value: object) -> str:
    return repr(value)[:60] if isinstance(value, (int, float, str, type(None))) else "unreadable"
