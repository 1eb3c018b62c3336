"""Image files on disk: where they are and whether they are whole."""

from pathlib import Path

from detq.errors import DatasetError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def files_in(folder: Path) -> tuple[Path, ...]:
    """Images in a folder and all below it, sorted by their path."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return tuple(sorted((path for path in found if path.is_file()), key=lambda p: p.as_posix()))


def listed_in(file: Path) -> tuple[Path, ...]:
    """Paths from a text file, one a line, relative to the file.

    Raises:
        DatasetError: the file is missing or not text.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            "is not a readable list of paths", where=str(file), hint="one path a line, in UTF-8"
        ) from error
    return tuple(file.parent / line.strip() for line in lines if line.strip())


def ends_early(data: bytes) -> bool:
    """A JPEG or PNG file without its end marker.

    Decoders differ in what they make of these: some fail, some fill the rest with grey.
    """
    if data.startswith(b"\xff\xd8"):
        end, scan = b"\xff\xd9", b"\xff\xda"
        # A thumbnail inside has an end of its own, so the last scan is looked for too.
        return not data.endswith(end) and data.rfind(end) <= data.rfind(scan)
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-64:] and b"IEND" not in data
    return False
