"""What the packages above the pipeline can do, handed in."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detq.calibration import CalibrationImages, observe_images
from detq.data.images import ImageRef
from detq.model import FloatModel
from detq.recipe import Bench, Calibration, Evaluation
from detq.stats import CalibrationStats
from detq.target import Target

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Tools:
    """Adapter, engines, evaluation, and a way to tell how far things are.

    Attributes:
        read_source: checkpoint and size → network with its branches apart.
        target_named: name → what the consumer can do on this machine.
        engine_here: name of an engine or target → its version and the machine, without
            loading it; what was measured or tried out there is done again where this differs.
        truth_files: every file that holds ground truth.
        read_truth: options and class names → what the ground truth holds; raises if it does
            not fit them.
        evaluate: model file, backend, options, file for the detections, file of the float
            model's detections to compare with or None → figures.
        bench: model files by label, options → figures.
        gallery: options, detections of the float and of an INT8 model, category id → class name,
            label and backend of the latter → the images where they differ most.
        report: finished run folder → its page as HTML.
        note: told a line about each step.
        progress: told what takes long and how many there are; gives a callback for how many
            are done.
        observe: statistics of values over images; elsewhere in parts, with the same bits.
    """

    read_source: Callable[[Path, tuple[int, int]], FloatModel]
    target_named: Callable[[str], Target]
    engine_here: Callable[[str], str]
    truth_files: Callable[[Evaluation], Sequence[Path]]
    read_truth: Callable[[Evaluation, Sequence[str]], Figures]
    evaluate: Callable[[Path, str, Evaluation, Path, Path | None], Figures]
    bench: Callable[[Mapping[str, Path], Bench], Figures]
    gallery: Callable[[Evaluation, Path, Path, Mapping[int, str], tuple[str, str]], Any]
    report: Callable[[Path], str]
    note: Callable[[str], None]
    progress: Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
    observe: Callable[
        [FloatModel, Collection[str], Sequence[ImageRef], Calibration, Callable[[int], None]],
        tuple[CalibrationStats, CalibrationImages],
    ] = observe_images
