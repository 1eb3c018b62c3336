"""An engine and a dataset in, figures and detections out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from detq.data.images import ImageRef
from detq.detection import Detections
from detq.errors import DatasetError
from detq.runner import Runner
from detq_eval.coco_map import CocoMetrics, score
from detq_eval.dataset import Dataset
from detq_eval.infer import InferenceOptions, infer
from detq_eval.stored import StoredDetections


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured, and how.

    Attributes:
        metrics: COCO's figures on the images that were seen.
        protocol: how they came about, in words.
        found: every image seen, with its detections.
        skipped: images left out, with the reason.
        seconds: from the first image read to the last suppression; scoring is not in it.
    """

    metrics: CocoMetrics
    protocol: str
    found: Sequence[tuple[ImageRef, Detections]]
    skipped: tuple[tuple[ImageRef, str], ...]
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Of the whole chain: reading, engine, suppression."""
        return len(self.found) / self.seconds


def evaluate(
    runner: Runner,
    dataset: Dataset,
    options: InferenceOptions = InferenceOptions(),  # noqa: B008 (frozen)
    *,
    batch: int = 1,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Run all images of a dataset and score what was found.

    Args:
        runner: the engine.
        dataset: read for the classes of ``runner.detector``.
        options: letterbox and suppression.
        batch: images per call of an engine that takes any number.
        on_step: called with the number of images done and of all.

    Raises:
        DatasetError: an image cannot be decoded and those are not skipped, or none can.
        DetqError: what the engine raises.
    """
    skipped: list[tuple[ImageRef, str]] = []
    total = len(dataset.images)
    started = time.perf_counter()
    found = StoredDetections()
    for image, detections in infer(
        runner,
        dataset.images,
        options,
        batch=batch,
        on_step=lambda done: on_step(done, total),
        on_skip=lambda image, error: skipped.append((image, error.what)),
    ):
        found.append(image, detections)
    seconds = time.perf_counter() - started
    if not found:
        raise DatasetError(
            f"none of {total} images can be decoded",
            where=str(dataset.source),
            hint=f"{skipped[0][0].path} {skipped[0][1]}",
        )
    return Evaluation(
        score(dataset, found), describe(runner, options), found, tuple(skipped), seconds
    )


def describe(runner: Runner, options: InferenceOptions) -> str:
    """The protocol in one line, to stand beside the figures."""
    detector = runner.detector
    height, width = detector.size
    inside, confidence, most = detector.suppression, options.confidence, options.max_detections
    if inside is not None:
        confidence, most = max(confidence, inside.confidence), min(most, inside.max_detections)
    parts = (
        f"{height}x{width}",
        f"grey {detector.preprocessing.pad}",
        f"shrink {options.shrink}" if options.shrink else "no shrink",
        f"confidence {confidence:g}",
        f"class-wise NMS at IoU {(inside or options).iou:g}",
        *(["inside the file"] if inside else []),
        "multi-label" if inside or options.multi_label else "best label",
        f"{most} detections",
        f"COCO bbox on {runner.name}",
    )
    return ", ".join(parts)
