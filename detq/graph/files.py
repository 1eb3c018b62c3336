"""ONNX files that explain themselves: written whole or not at all, read with their contract."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import onnx_ir as ir

from detq.detection import Detector
from detq.errors import InputError
from detq.whole_file import written_whole as written_whole

OURS = "detq."  # begins every key that detq writes
DETECTOR = "detq.detector"
RECIPE = "detq.recipe"
TARGET = "detq.target"
VERSION = "detq.version"


def save_model(model: ir.Model, path: Path) -> None:
    """Write an ONNX file; the same model gives the same bytes."""
    with written_whole(path) as temporary:
        ir.save(model, temporary)


def load_model(path: Path) -> ir.Model:
    """Read an ONNX file.

    Raises:
        InputError: there is no such file, or it is not ONNX.
    """
    if not path.is_file():
        raise InputError("no such file", where=str(path), hint="give the path of an ONNX file")
    try:
        return ir.load(path)
    except Exception as error:  # protobuf raises a class of its own per backend
        raise InputError(
            "is not an ONNX file", where=str(path), hint="make one with: detq export"
        ) from error


def detector_metadata(detector: Detector) -> dict[str, str]:
    """The contract as ONNX metadata."""
    return {DETECTOR: msgspec.json.encode(detector).decode()}


def detector_from_metadata(metadata: Mapping[str, str], where: str) -> Detector:
    """The contract that ``detector_metadata`` wrote.

    Raises:
        InputError: the file was not written by detq, or by a later one.
    """
    try:
        return msgspec.json.decode(metadata[DETECTOR], type=Detector)
    except KeyError:
        raise InputError(
            "does not say what it detects",
            where=where,
            hint="write it with detq export or detq quantize",
        ) from None
    except msgspec.MsgspecError as error:
        raise InputError(
            f"describes its detector in an unknown way: {error}",
            where=where,
            hint="write it again with this version of detq",
        ) from error
