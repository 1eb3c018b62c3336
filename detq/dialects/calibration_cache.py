"""TensorRT's calibration cache: a scale for every tensor, as text.

The first line is ``TRT-<build>-<algorithm>``, each other ``<tensor>: <scale>``; a scale is the
largest magnitude over 127, as the eight hexadecimal digits of a float32, highest first. A
TensorRT of another build number passes a cache over and calibrates itself. A tensor that is
missing, or has scale 0, is not rounded.
"""

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from detq.errors import InputError

ENTROPY_2 = "EntropyCalibration2"  # the one that DLA asks for
_HEADER = re.compile(r"TRT-(\d+)-(\w+)")
_LINE = re.compile(r"(?P<tensor>.+): (?P<scale>[0-9a-fA-F]{1,8})")
_HINT = "give a calibration cache that TensorRT or detq wrote"


@dataclass(frozen=True, slots=True)
class CalibrationCache:
    """Scales by tensor.

    Attributes:
        build: TensorRT's version as one number, 8502 for 8.5.2 and 100300 for 10.3.0.
        scales: name of the tensor → width of a step, float32, above 0.
        algorithm: that chose them.
    """

    build: int
    scales: Mapping[str, float]
    algorithm: str = ENTROPY_2


def cache_as_text(cache: CalibrationCache) -> str:
    """What TensorRT reads; the same cache gives the same text."""
    lines = [f"TRT-{cache.build}-{cache.algorithm}"]
    lines += [f"{name}: {struct.pack('>f', scale).hex()}" for name, scale in cache.scales.items()]
    return "\n".join(lines) + "\n"


def cache_from_text(text: str, where: str) -> CalibrationCache:
    """What ``cache_as_text`` or TensorRT wrote.

    Args:
        text: of the file.
        where: its name, for errors.

    Raises:
        InputError: it is no cache, or a line of it is not a tensor with its scale.
    """
    first, *lines = text.splitlines() or [""]
    header = _HEADER.fullmatch(first.strip())
    if header is None:
        raise InputError(
            f"does not begin with TRT-<version>-{ENTROPY_2}, but {first[:40]!r}",
            where=where,
            hint=_HINT,
        )
    scales = {}
    for number, line in enumerate(lines, 2):
        if line.strip():
            tensor, scale = _entry(line, f"{where}: line {number}")
            if scale > 0:
                scales[tensor] = scale
    if not scales:
        raise InputError("holds no scale above 0", where=where, hint=_HINT)
    return CalibrationCache(int(header[1]), scales, header[2])


def _entry(line: str, where: str) -> tuple[str, float]:
    match = _LINE.fullmatch(line.rstrip())
    if match is None:
        raise InputError(f"{line[:60]!r} is not a tensor with its scale", where=where, hint=_HINT)
    scale: float = struct.unpack(">f", bytes.fromhex(match["scale"].rjust(8, "0")))[0]
    if not math.isfinite(scale) or scale < 0:
        raise InputError(f"scale {scale} is not above 0", where=where, hint=_HINT)
    return match["tensor"], scale
