"""Images with their true boxes, in the model's order of classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detq.data.images import ImageRef, require_present
from detq.errors import DatasetError
from detq_eval.classes import ClassMap, map_classes
from detq_eval.coco_truth import read_coco_truth
from detq_eval.truth import Truth
from detq_eval.yolo_truth import read_yolo_truth


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
    if not annotations.is_file():
        raise DatasetError(
            "no such file", where=str(annotations), hint="give a COCO .json or a data.yaml"
        )
    if annotations.suffix.lower() in (".yaml", ".yml"):
        found = read_yolo_truth(annotations, names)
    else:
        found = read_coco_truth(annotations, images)
    if not len(found.truth):
        raise DatasetError(
            "has no boxes", where=str(annotations), hint="evaluation needs annotated images"
        )
    classes = map_classes(names, found.categories, annotations)
    require_present(found.images, annotations)
    return Dataset(annotations, found.images, classes, found.truth)
