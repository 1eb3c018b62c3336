"""Engine files that are not plain plans: what they are, told before TensorRT chokes on them."""

import json
from pathlib import Path
from typing import Any

from detq.errors import InputError
from detq.whole_file import told

SUFFIXES = (".engine", ".plan", ".trt")
_LONGEST_HEADER = 2**20
_LENGTH = 4  # bytes in front of the JSON, little-endian


def is_engine(path: Path) -> bool:
    """Whether the file's name says that it is a TensorRT engine."""
    return path.suffix.lower() in SUFFIXES


def json_header(path: Path) -> dict[str, Any] | None:
    """The JSON that Ultralytics writes in front of a plan; None where there is none.

    Raises:
        InputError: the file cannot be read.
    """
    with told(path, "cannot be read", "give the path of an engine"), path.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH), "little")
        text = stream.read(length) if 2 <= length <= _LONGEST_HEADER else b""
    if len(text) != length:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def require_plain(path: Path) -> None:
    """Refuse an engine with a header that TensorRT cannot read.

    Raises:
        InputError: it has one, or the file cannot be read.
    """
    header = json_header(path)
    if header is not None:
        raise InputError(
            f"is not a plain plan but an engine of Ultralytics with a JSON header "
            f"({described(header)})",
            where=str(path),
            hint="export that model to ONNX and build it with: detq build",
        )


def described(header: dict[str, Any]) -> str:
    """What a header says of the model, in a few words."""
    words = [str(header[key]) for key in ("description", "task") if header.get(key)]
    size = header.get("imgsz")
    if isinstance(size, list):
        words.append("x".join(map(str, size)))
    if header.get("version"):
        words.append(f"written by {header['version']}")
    return ", ".join(words) or "which says nothing known"
