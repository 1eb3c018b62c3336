"""Which images there are, and their pixels."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from detq.data.coco_json import read_coco_images
from detq.data.image_files import IMAGE_SUFFIXES, ends_early, files_in, listed_in
from detq.data.yolo_yaml import Split, read_data_yaml
from detq.errors import DatasetError

# A broken image becomes an error that names it; OpenCV's own lines on stderr name nobody.
_SILENT = 0
if hasattr(cv2, "setLogLevel"):  # OpenCV 4, which Jetsons come with
    cv2.setLogLevel(_SILENT)
else:
    cv2.utils.logging.setLogLevel(_SILENT)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image that exists.

    Attributes:
        id: as the COCO file calls it, else the path below the folder that was given.
        path: the file.
    """

    id: int | str
    path: Path


def list_images(
    source: Path, images: Path | None = None, *, split: Split = "train"
) -> tuple[ImageRef, ...]:
    """The images of a dataset, in an order that does not depend on the machine.

    Args:
        source: a folder (with all below it), an image, a list of paths (``.txt``), a COCO
            file (``.json``) or a YOLO ``data.yaml``.
        images: where the images of a COCO file lie, if not beside it.
        split: which part of a ``data.yaml``.

    Raises:
        DatasetError: there is no such thing, no image in it, an image is missing, or has a name
            that no file of ours could hold.
    """
    read = _SOURCES.get(source.suffix.lower())
    if os.path.isdir(source):
        refs = _refs(files_in(source), source)
    elif not os.path.isfile(source):
        raise DatasetError(
            "no such file or folder", where=str(source), hint="correct the path, or mount the disk"
        )
    elif read is not None:
        refs = read(source, images, split)
    elif source.suffix.lower() in IMAGE_SUFFIXES:
        refs = (ImageRef(source.name, source),)
    else:
        raise DatasetError(
            "is not a list of images",
            where=str(source),
            hint="give a folder, an image, a COCO .json, a data.yaml or a .txt of paths",
        )
    if not refs:
        raise DatasetError(
            "no images", where=str(source), hint=f"known are {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    require_present(refs, source)
    for ref in refs:
        _require_utf8(ref.path)
    return refs


def _require_utf8(path: Path) -> None:
    """Other bytes of a name are lone surrogates to Python, which JSON and hashes refuse."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        name = os.fsencode(path).decode(errors="backslashreplace")
        raise DatasetError("has a name that is not UTF-8", where=name, hint="rename it") from None


def require_present(refs: Sequence[ImageRef], source: Path) -> None:
    """Check that every image is there.

    Raises:
        DatasetError: names the first three that are not, and how many there are.
    """
    # Path.is_file raises where a name is too long for one, as a line of prose is.
    missing = [ref.path for ref in refs if not os.path.isfile(ref.path)]
    if missing:
        names = ", ".join(map(str, missing[:3])) + (", ..." if len(missing) > 3 else "")
        raise DatasetError(
            f"{len(missing)} of {len(refs)} images are missing: {names}",
            where=str(source),
            hint="say where the images lie: --images FOLDER, in a recipe images:",
        )


def choose_images(refs: Iterable[ImageRef], count: int, seed: int) -> tuple[ImageRef, ...]:
    """``count`` images, or all where there are fewer, in a shuffled order.

    Decided by a hash of the seed and the image's id: the same on every machine, whatever
    the order of ``refs``; the first images stay the same when ``count`` grows.
    """

    def draw(ref: ImageRef) -> bytes:
        return hashlib.sha256(f"{seed}/{ref.id}".encode()).digest()

    return tuple(sorted(refs, key=draw)[:count])


def read_image(path: Path) -> Pixels:
    """Pixels [h, w, 3] in BGR order, turned upright as the file's orientation says.

    Raises:
        DatasetError: the file is missing, empty, cut short, or not an image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"cannot be read: {error.strerror}", where=str(path), hint=_MEND
        ) from error
    if not data:
        raise DatasetError("is empty", where=str(path), hint=_MEND)
    if ends_early(data):
        raise DatasetError("is cut short", where=str(path), hint=_MEND)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise DatasetError(
            f"cannot be decoded: {error.err}", where=str(path), hint=_MEND
        ) from error
    if image is None:
        raise DatasetError("is not an image that can be decoded", where=str(path), hint=_MEND)
    return cast(Pixels, image)


_MEND = "replace the file or leave it out"


def _refs(paths: Iterable[Path], root: Path) -> tuple[ImageRef, ...]:
    return tuple(ImageRef(_name_below(path, root), path) for path in paths)


def _name_below(path: Path, root: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _from_coco(source: Path, images: Path | None, split: Split) -> tuple[ImageRef, ...]:
    return tuple(ImageRef(row.id, path) for row, path in read_coco_images(source, images))


def _from_yaml(source: Path, images: Path | None, split: Split) -> tuple[ImageRef, ...]:
    data = read_data_yaml(source)
    return _refs(data.images(split), data.root)


def _from_list(source: Path, images: Path | None, split: Split) -> tuple[ImageRef, ...]:
    return _refs(listed_in(source), source.parent)


_SOURCES: Mapping[str, Callable[[Path, Path | None, Split], tuple[ImageRef, ...]]] = {
    ".json": _from_coco,
    ".yaml": _from_yaml,
    ".yml": _from_yaml,
    ".txt": _from_list,
}
