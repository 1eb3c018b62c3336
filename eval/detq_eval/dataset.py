"""Images with their true boxes, in the model's order of classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detq.data.images import ImageRef, require_present
from detq.errors import DatasetError
from detq_eval.classes import ClassMap, map_classes
from detq_eval.coco_truth import read_coco_truth
from detq_eval.truth import Truth
from detq_eval.yolo_truth import label_path, read_yolo_truth


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a detector is scored against.

    Attributes:
        source: the annotation file.
        images: every image, also those without a box.
        classes: from the model's classes to the file's categories.
        truth: the boxes.
    """

    source: Path
    images: tuple[ImageRef, ...]
    classes: ClassMap
    truth: Truth


def read_dataset(annotations: Path, images: Path | None = None, *, names: Sequence[str]) -> Dataset:
    """Read ground truth for a model with the classes ``names``.

    Args:
        annotations: a COCO file (``.json``), or a YOLO ``data.yaml`` whose ``val`` split
            has a label file for each image.
        images: where the images of a COCO file lie, if not beside it.
        names: the model's classes in the order of its scores.

    Raises:
        DatasetError: the file is missing, not of its kind or without boxes; images are
            missing; it has another number of classes than the model.
    """
    _require_file(annotations)
    if _is_coco(annotations):
        found = read_coco_truth(annotations, images)
    else:
        found = read_yolo_truth(annotations, names)
    if not len(found.truth):
        raise _without_boxes(annotations, found.images)
    classes = map_classes(names, found.categories, annotations)
    require_present(found.images, annotations)
    return Dataset(annotations, found.images, classes, found.truth)


def _require_file(annotations: Path) -> None:
    if annotations.is_dir():
        inside = sorted(path.name for path in annotations.glob("*.yaml"))
        hint = f"give {annotations / inside[0]}" if inside else "give a COCO .json or a data.yaml"
        raise DatasetError(
            "is a folder, which does not say what is on its images",
            where=str(annotations),
            hint=hint,
        )
    if not annotations.is_file():
        raise DatasetError(
            "no such file", where=str(annotations), hint="give a COCO .json or a data.yaml"
        )


def _without_boxes(annotations: Path, images: Sequence[ImageRef]) -> DatasetError:
    """Says where the labels were looked for, if they are files of their own."""
    hint = "evaluation needs annotated images"
    missing = [] if _is_coco(annotations) else [label_path(image.path) for image in images]
    if missing and not any(path.is_file() for path in missing):
        hint = f"no label file is there, the first would be {missing[0]}"
    return DatasetError("has no boxes", where=str(annotations), hint=hint)


def _is_coco(annotations: Path) -> bool:
    return annotations.suffix.lower() not in (".yaml", ".yml")
