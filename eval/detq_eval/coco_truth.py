"""Ground truth from a COCO annotation file."""

import typing
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from detq.data.coco_json import CocoImage, decode_json, located
from detq.data.images import ImageRef
from detq.errors import DatasetError
from detq_eval.truth import Annotated, Category, Truth

LARGEST = 2**63 - 1  # what an array of ids holds


class _Annotation(msgspec.Struct, frozen=True, gc=False):
    image_id: int | str
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: int = 0


class _Category(msgspec.Struct, frozen=True):
    id: typing.Annotated[int, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
    name: str


class _CocoFile(msgspec.Struct, frozen=True):
    images: list[CocoImage]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_coco_truth(file: Path, images: Path | None = None) -> Annotated:
    """Images, categories and boxes; annotations of images that are not listed are left out.

    Raises:
        DatasetError: the file cannot be read, or contradicts itself.
    """
    content = decode_json(file, _CocoFile)
    refs = tuple(ImageRef(row.id, path) for row, path in located(file, images, content.images))
    index = {ref.id: number for number, ref in enumerate(refs)}
    if len(index) < len(refs):
        raise DatasetError("has an image id twice", where=str(file), hint="keep one of them")
    categories = tuple(Category(row.id, row.name) for row in content.categories)
    rows = [row for row in content.annotations if row.image_id in index]
    _check(rows, {category.id for category in categories}, file)
    truth = Truth(
        np.array([index[row.image_id] for row in rows], np.int64),
        np.array([row.category_id for row in rows], np.int64),
        np.array([row.bbox for row in rows], np.float64).reshape(-1, 4),
        np.array([_area(row) for row in rows], np.float64),
        np.array([bool(row.iscrowd) for row in rows], np.bool_),
    )
    return Annotated(refs, categories, truth)


def _check(rows: Sequence[_Annotation], known: set[int], file: Path) -> None:
    for row in rows:
        if row.category_id not in known:
            raise DatasetError(
                f"has a box of category {row.category_id}, which it does not list",
                where=str(file),
                hint="add it to the categories, or leave the box out",
            )
        if min(row.bbox[2:]) < 0:
            raise DatasetError(
                f"has a box of negative size in image {row.image_id}: {list(row.bbox)}",
                where=str(file),
                hint="bbox is left, top, width, height",
            )


def _area(row: _Annotation) -> float:
    return row.bbox[2] * row.bbox[3] if row.area is None else row.area
