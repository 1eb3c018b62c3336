"""``data.yaml`` as YOLOv6 and Ultralytics write it: names, and images per split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from detq.data.image_files import files_in, listed_in
from detq.errors import DatasetError

Split = Literal["train", "val", "test"]


class _Fields(msgspec.Struct, frozen=True):
    path: str | None = None
    train: str | list[str] | None = None
    val: str | list[str] | None = None
    test: str | list[str] | None = None
    names: list[str] | dict[int, str] | None = None
    nc: int | None = None


@dataclass(frozen=True, slots=True)
class DataYaml:
    """A dataset in YOLO form.

    Attributes:
        file: the ``data.yaml``.
        root: folder that the splits are relative to.
        names: class names, numbers if the file only counts them; may be empty.
        splits: entries of each split as written.
    """

    file: Path
    root: Path
    names: tuple[str, ...]
    splits: dict[str, tuple[str, ...]]

    def images(self, split: Split) -> tuple[Path, ...]:
        """Images of a split: its folders with all below, and its lists of paths.

        Raises:
            DatasetError: the file has no such split, or a folder or list is missing.
        """
        entries = self.splits.get(split, ())
        if not entries:
            raise DatasetError(
                f"has no images under {split!r}",
                where=str(self.file),
                hint=f"it has {', '.join(self.splits) or 'no split'}; add it, or give a folder",
            )
        return tuple(path for entry in entries for path in self._images_of(entry))

    def _images_of(self, entry: str) -> tuple[Path, ...]:
        # YOLOv6 means paths from where it is run, Ultralytics from ``path``; what Roboflow
        # writes is one folder too high.
        beside = entry.removeprefix("../")
        places = (self.root / entry, self.file.parent / entry, Path(entry), self.root / beside)
        for place in places:
            if place.is_dir():
                return files_in(place)
            if place.is_file():
                return listed_in(place)
        raise DatasetError(
            f"names a folder or list that is not there: {places[0]}",
            where=str(self.file),
            hint="correct 'path' and the split",
        )


def read_data_yaml(file: Path) -> DataYaml:
    """Read a ``data.yaml``.

    Raises:
        DatasetError: it cannot be read, or is of another shape.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        fields = msgspec.convert(content, _Fields)
    except OSError as error:
        raise DatasetError(
            f"cannot be read: {error.strerror}", where=str(file), hint="give a data.yaml"
        ) from error
    except (yaml.YAMLError, ValueError, msgspec.ValidationError) as error:
        raise DatasetError(
            f"is not a data.yaml: {error}",
            where=str(file),
            hint="expected are path, train, val and names",
        ) from error
    splits = {key: _entries(getattr(fields, key)) for key in ("train", "val", "test")}
    return DataYaml(
        file,
        file.parent / (fields.path or ""),
        _names(fields),
        {key: entries for key, entries in splits.items() if entries},
    )


def _entries(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _names(fields: _Fields) -> tuple[str, ...]:
    names = fields.names or [str(number) for number in range(fields.nc or 0)]
    return tuple(names[key] for key in sorted(names)) if isinstance(names, dict) else tuple(names)
