"""A piece of work that can be done anywhere, and how it may end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from detq.errors import TargetError


@dataclass(frozen=True, eq=False)
class Task:
    """A call that may be made in another process, on another machine, and more than once.

    Attributes:
        name: for people.
        function: of a module, so that it can be found elsewhere; a second call after one that
            was cut off must lead to the same.
        arguments: by name; plain values, paths and records.
        waits: it has others work for it, and needs no core of its own.
    """

    name: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    waits: bool = False

    def __call__(self) -> Any:
        """Do it here."""
        return self.function(**self.arguments)


class WorkerLostError(TargetError):
    """The process or machine that worked on a task is gone."""


class OutOfMemoryError(TargetError):
    """A worker wanted more memory than there is."""


_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says so: Python's, NumPy's, torch's of any device."""
    told = str(error).lower()
    return isinstance(error, MemoryError) or any(words in told for words in _WORDS)
