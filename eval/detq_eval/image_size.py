"""Height and width of an image from its header, as decoding would give them."""

import struct
from collections.abc import Iterator
from pathlib import Path

from detq.data.images import read_image

Size = tuple[int, int]

_ORIENTATION = 0x0112  # TIFF tag
_QUARTER_TURNS = range(5, 9)
# Start-of-frame markers; C4, C8 and CC in between mean something else.
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def image_size(path: Path) -> Size:
    """Height and width of what ``read_image`` returns, mostly without decoding.

    Raises:
        DatasetError: the file is missing or not an image.
    """
    try:
        data = path.read_bytes()
        if data.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        # A PNG may carry an orientation too, in a chunk that may stand anywhere.
        if data.startswith(b"\x89PNG") and b"eXIf" not in data:
            width, height = struct.unpack_from(">II", data, 16)
            return height, width
    except (OSError, struct.error, LookupError):
        pass  # the reader says better what is wrong
    height, width, _ = read_image(path).shape
    return height, width


def _jpeg_size(data: bytes) -> Size:
    turned = False
    for marker, start in _jpeg_segments(data):
        if marker == 0xE1 and data.startswith(b"Exif\0\0", start):
            turned = _orientation(data[start + 6 :]) in _QUARTER_TURNS
        elif marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, start + 1)
            return (width, height) if turned else (height, width)
    raise LookupError("no frame")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and start of the content of each segment in front of the pixels."""
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        yield marker, at + 4
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]


def _orientation(tiff: bytes) -> int:
    order = "<" if tiff.startswith(b"II") else ">"
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
        if tag == _ORIENTATION:
            return int(value)
    return 1
