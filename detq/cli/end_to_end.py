"""From decoded pictures to boxes, as one step that ``detq bench`` can time."""

import itertools
from collections.abc import Callable
from pathlib import Path

from detq.data.images import choose_images, list_images, read_image
from detq.data.letterbox import empty_input, letterbox, write_input
from detq.runner import Runner
from detq_eval.infer import InferenceOptions, found_in_output, suppress

PICTURES_TO_BOXES = "detq.cli.end_to_end:pictures_to_boxes"
_MOST_PICTURES = 32  # held decoded in memory
_OPTIONS = InferenceOptions(confidence=0.25)  # what an application draws


def pictures_to_boxes(run: Runner, pictures: Path, batch: int) -> Callable[[], None]:
    """A step that letterboxes, runs, decodes and suppresses ``batch`` pictures, one thread.

    Pictures are decoded beforehand: a camera gives pixels.

    Args:
        run: model of detq.
        pictures: whatever ``--data`` takes.
        batch: pictures in a step.
    """
    detector = run.detector
    refs = choose_images(list_images(pictures, split="val"), _MOST_PICTURES, 0)
    pixels = itertools.cycle([read_image(ref.path) for ref in refs])
    inputs = empty_input(detector, batch)

    def step() -> None:
        places = []
        for row in inputs:
            boxed, place = letterbox(
                next(pixels), detector.size, shrink=0, pad=detector.preprocessing.pad
            )
            write_input(boxed, detector, row)
            places.append(place)
        found = found_in_output(run(inputs), detector, batch, run.name)
        for rows, place in zip(found, places, strict=True):
            place.boxes_in_original(suppress(rows, _OPTIONS).boxes)

    return step
