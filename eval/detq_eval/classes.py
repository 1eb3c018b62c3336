"""Which category of the annotations each class of a model is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from detq.errors import DatasetError
from detq_eval.truth import Category


@dataclass(frozen=True, slots=True)
class ClassMap:
    """The model's classes in the annotation file.

    Attributes:
        names: as the model calls them, in the order of its scores.
        category_ids: id of each in the annotation file.
        matched_by: ``name`` where all names are equal, else ``order`` of the ids.
    """

    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    matched_by: Literal["name", "order"]


def map_classes(names: Sequence[str], categories: Sequence[Category], source: Path) -> ClassMap:
    """Match by name without regard to case, or by order if the names are not the same.

    Raises:
        DatasetError: the counts differ, or a category id stands twice.
    """
    ordered = sorted(categories, key=lambda category: category.id)
    ids = tuple(category.id for category in ordered)
    if len(set(ids)) < len(ids):
        raise DatasetError("has a category id twice", where=str(source), hint="keep one of them")
    if len(ids) != len(names):
        raise DatasetError(
            f"has {_classes(len(ids))}, the model {len(names)}",
            where=str(source),
            hint="use the annotations that the model was trained for",
        )
    by_name = {_plain(category.name): category.id for category in ordered}
    wanted = [_plain(name) for name in names]
    if len(by_name) == len(ids) and set(wanted) == set(by_name):
        return ClassMap(tuple(names), tuple(by_name[name] for name in wanted), "name")
    return ClassMap(tuple(names), ids, "order")


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count} classes"
