"""What exporters write beside the graph: class names, image size, task."""

import ast
import re
from collections.abc import Mapping
from typing import Any

from detq.errors import InputError

_LONGEST = 100_000  # characters
_DEEPEST = 4  # brackets or signs in a row


def names_in(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Class names in the order of the scores; none where they are missing or unreadable."""
    found = literal(metadata.get("names", ""))
    if isinstance(found, dict):
        found = [found.get(i) for i in range(len(found))]
    if not isinstance(found, (list, tuple)) or not all(isinstance(x, str) for x in found):
        return ()
    return tuple(" ".join(name.split()) or f"class_{i}" for i, name in enumerate(found))


def size_in(metadata: Mapping[str, str]) -> tuple[int, int] | None:
    """Height and width in pixels."""
    found = literal(metadata.get("imgsz", ""))
    sides = [found, found] if isinstance(found, int) else found
    if not isinstance(sides, (list, tuple)) or len(sides) != 2:
        return None
    height, width = sides
    return (height, width) if type(height) is int and type(width) is int else None


def check_task(metadata: Mapping[str, str], where: str) -> None:
    """Refuse a network that is said to be something else than a detector.

    Raises:
        InputError: it is.
    """
    task = " ".join(metadata.get("task", "").split())[:40]
    if task not in ("", "detect"):
        raise InputError(
            f"is a model for {task!r}", where=where, hint="detq quantizes detectors of boxes"
        )


def family_in(metadata: Mapping[str, str], otherwise: str) -> str:
    """What people call the network, in a few words."""
    text = " ".join(metadata.get("description", "").split())[:80]
    return text if text and text.isprintable() else otherwise


def literal(text: str) -> Any:
    """A value written as Python writes it, or None: nothing is called, nothing nests deeply."""
    if len(text) > _LONGEST or re.search(rf"[-+~(\\[{{]{{{_DEEPEST},}}", text.replace(" ", "")):
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
