"""The errors a user can cause: one line each, with what, where and the remedy.

::

    DetqError
    ├ InputError               a file or value the user gave
    │  ├ RecipeError           path in the recipe: $.range.method
    │  ├ CheckpointError
    │  └ DatasetError
    ├ ModelError               the network itself
    │  ├ UnsupportedBlockError
    │  ├ UnsupportedOperatorError
    │  └ NotEquivalentError
    ├ CalibrationError
    └ TargetError              the machine or engine that should run the model
       └ TargetUnavailableError

A broken promise of our own is an ``AssertionError`` and is never caught.
"""

import difflib
from collections import abc


class DetqError(Exception):
    """Something the user can mend.

    Args:
        what: what went wrong, without a full stop.
        where: the file, node, image or option concerned.
        hint: what to do about it.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f" ({self.hint})" if self.hint else ""
        return " ".join(f"{place}{self.what}{remedy}".split())

    def __reduce__(self) -> tuple[object, ...]:  # survives a process boundary
        return _rebuild, (type(self), self.what, self.where, self.hint)


def _rebuild(kind: type[DetqError], what: str, where: str, hint: str) -> DetqError:
    return kind(what, where=where, hint=hint)


class InputError(DetqError):
    """A file, option or value that the user gave."""


class RecipeError(InputError):
    """A recipe that cannot be read; the place is a path such as ``$.range.method``."""


class CheckpointError(InputError):
    """A checkpoint that cannot be read, or is not of a known kind."""


class DatasetError(InputError):
    """Images or annotations that cannot be used."""


class ModelError(DetqError):
    """A network that cannot be treated."""


class UnsupportedBlockError(ModelError):
    """A module class for which there is no builder."""


class UnsupportedOperatorError(ModelError):
    """An ONNX operator for which there is no function."""


class NotEquivalentError(ModelError):
    """A transform changed the float function."""


class CalibrationError(DetqError):
    """Statistics that give no range."""


class TargetError(DetqError):
    """The machine, engine or file format that should run the model."""


class TargetUnavailableError(TargetError):
    """An engine that is not installed here."""


def remedy_for_name(wrong: str, known: abc.Iterable[str]) -> str:
    """What to write instead of a name that is not known: the closest one, or what there is."""
    words = list(known)
    begun = [word for word in words if word.startswith(wrong)]
    close = difflib.get_close_matches(wrong, words, n=1)
    if len(begun) <= 1 and close:
        return f"did you mean `{close[0]}`?"
    return f"one of {', '.join(begun or words)}"
