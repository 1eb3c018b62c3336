"""The image list of a COCO annotation file."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from detq.errors import DatasetError

T = TypeVar("T")


class CocoImage(msgspec.Struct, frozen=True):
    """One entry of ``images``; what else it holds is passed over."""

    id: int | str
    file_name: str


class _CocoFile(msgspec.Struct, frozen=True):
    images: tuple[CocoImage, ...]


class _Category(msgspec.Struct, frozen=True):
    id: int
    name: str


class _CocoCategories(msgspec.Struct, frozen=True):
    categories: tuple[_Category, ...]


def decode_json(file: Path, kind: type[T]) -> T:
    """A JSON file as a record.

    Raises:
        DatasetError: no such file, not JSON, or not of this shape; says where in the file.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except OSError as error:
        raise DatasetError(
            f"cannot be read: {error.strerror}", where=str(file), hint="give a COCO .json"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"is not a COCO annotation file: {error}",
            where=str(file),
            hint="expected are images, annotations and categories as in instances_val2017.json",
        ) from error


def read_coco_images(file: Path, images: Path | None = None) -> tuple[tuple[CocoImage, Path], ...]:
    """The entries of a COCO file and where their images lie, present or not.

    Raises:
        DatasetError: the file cannot be read.
    """
    return located(file, images, decode_json(file, _CocoFile).images)


def read_coco_names(file: Path) -> tuple[str, ...]:
    """The class names of a COCO file in the order of their ids, as detectors number them.

    Raises:
        DatasetError: the file cannot be read.
    """
    rows = decode_json(file, _CocoCategories).categories
    return tuple(row.name for row in sorted(rows, key=lambda row: row.id))


def located(
    file: Path, images: Path | None, rows: Sequence[CocoImage]
) -> tuple[tuple[CocoImage, Path], ...]:
    """Each entry with its path.

    All lie below one folder: ``images`` if given, else the first of the usual places that
    has any of the first entries: beside the file or one folder up, there in ``images`` or
    the split's name (``val2017`` of ``instances_val2017.json``).
    """
    if images is not None and not images.is_dir():
        raise DatasetError("no such folder", where=str(images), hint="give the images' folder")
    places = [images] if images is not None else list(_usual_places(file))
    some = [row.file_name for row in rows[:16]]
    has = (place for place in places if any((place / name).is_file() for name in some))
    place = next(has, places[0])
    return tuple((row, place / row.file_name) for row in rows)


def _usual_places(file: Path) -> Iterator[Path]:
    split = file.stem.rpartition("_")[2]
    for base in (file.parent, file.resolve().parent.parent):
        for inner in ("", "images", split, f"images/{split}"):
            yield base / inner
