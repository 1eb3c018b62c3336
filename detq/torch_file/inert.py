"""What a torch pickle becomes: records that hold data and can do nothing."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


class PickleError(Exception):
    """The pickle asks for something, or is damaged; the text says what."""


@dataclass(frozen=True, slots=True)
class ModuleClass:
    """A module class named by the file, such as ``torch.nn.modules.conv.Conv2d``."""

    name: str


@dataclass(frozen=True, slots=True)
class StorageType:
    """A storage class, such as ``torch.HalfStorage``.

    Attributes:
        name: full dotted name.
        dtype: how the bytes are read, little endian.
        bfloat16: the 16 bits are the upper half of a float32.
    """

    name: str
    dtype: np.dtype[Any]
    bfloat16: bool = False


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of numbers stored apart from the pickle.

    Attributes:
        key: name of the record.
        kind: element type.
        count: number of elements the pickle claims.
    """

    key: str
    kind: StorageType
    count: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view into a storage, checked to lie inside what the storage claims.

    Attributes:
        storage: where the numbers are.
        offset: first element.
        size: shape.
        stride: steps in elements.
    """

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of elements."""
        return int(np.prod(self.size, dtype=object))


@dataclass(slots=True, eq=False)
class Instance:
    """An object of a module class; ``state`` is what the class would have put in ``__dict__``."""

    kind: str
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a module, kept by name (a fused model rebinds ``forward``)."""

    name: str


@dataclass(frozen=True, slots=True)
class Name:
    """A named thing without content, such as ``torch.float16``."""

    name: str
