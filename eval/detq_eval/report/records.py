"""What a run left in its folder, as far as the report shows it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from detq.calibration import CalibrationImages
from detq.detection import Detector
from detq.errors import InputError
from detq.graph.files import detector_from_metadata, load_model
from detq.layer_error import LayerErrors
from detq.plan import Placement
from detq.run_dir import LOCK, MANIFEST, STEPS
from detq.stats import CalibrationStats, load_stats
from detq_eval.agreement import Agreement
from detq_eval.report.gallery import Gallery

METRICS = "metrics.json"
FLOAT = "float"

_T = TypeVar("_T")


class Subject(msgspec.Struct, frozen=True):
    """The INT8 model that the report is about, and the engine it was scored in."""

    label: str
    backend: str


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy of one file on one engine, 0 to 1; -1 where the truth has nothing of the kind."""

    file: str
    engine: str
    isa: str
    images: int
    protocol: str
    per_class: Mapping[str, float]
    ap: float = msgspec.field(name="AP")
    ap50: float = msgspec.field(name="AP50")
    ap75: float = msgspec.field(name="AP75")
    ap_small: float = msgspec.field(name="APsmall")
    ap_medium: float = msgspec.field(name="APmedium")
    ap_large: float = msgspec.field(name="APlarge")
    agreement: Agreement | None = None


class Spread(msgspec.Struct, frozen=True):
    """Of many runs."""

    median: float
    p10: float
    p90: float


class EngineLayers(msgspec.Struct, frozen=True):
    """How an engine runs the convolutions, as it says itself."""

    convolutions: int
    int8: int
    in_float: tuple[str, ...] = ()


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Speed of one file on one engine."""

    engine: str
    threads: int
    batch: int
    size: tuple[int, int]
    wall_ms: Spread
    speedup: Spread
    peak_rss_mib: float = 0.0
    layers: EngineLayers | None = None


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """All that were timed in turn; empty if none was."""

    isa: str = ""
    cpu: str = ""
    rounds: int = 0
    timings: Mapping[str, Timing] = {}


class Learned(msgspec.Struct, frozen=True):
    """What one learner did to a model; kept only if the whole network came nearer to float."""

    method: Mapping[str, Any]
    images: int
    kept: bool
    seconds: float
    snr_db_before: float | None = None
    snr_db_after: float | None = None


class Splits(msgspec.Struct, frozen=True):
    """How many kernels became a coarse and a fine one, and what that adds to the work."""

    split: int
    kernels: int
    extra_macs_share: float | None = None


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``metrics.json``; the keys of ``accuracy`` are label and backend."""

    subject: Subject
    accuracy: Mapping[str, Score]
    speed: Speed
    files: Mapping[str, str]
    layers: Mapping[str, Mapping[str, int]]
    warnings: tuple[str, ...]
    learned: Mapping[str, tuple[Learned, ...]] = {}
    coarse_fine: Mapping[str, Splits] = {}


class Manifest(msgspec.Struct, frozen=True):
    """What ran where."""

    versions: Mapping[str, str]
    platform: str
    recipe: Mapping[str, Any]


class RunRecords(msgspec.Struct, frozen=True, kw_only=True):
    """A finished run.

    Attributes:
        name: of the folder.
        metrics: all figures.
        manifest: versions, machine, recipe.
        detector: what the network takes and finds.
        sizes: label of a file to its bytes.
        seconds: step to how long it took when it was done.
        placement: of the subject; None where it is missing, as with all below.
        layers: error of every layer, and chosen ranges.
        stats: what calibration saw of the tensors.
        calibration: the images it saw.
        gallery: images where the boxes differ most.
    """

    name: str
    metrics: Metrics
    manifest: Manifest
    detector: Detector
    sizes: Mapping[str, int]
    seconds: Mapping[str, float]
    placement: Placement | None = None
    layers: LayerErrors | None = None
    stats: CalibrationStats | None = None
    calibration: CalibrationImages | None = None
    gallery: Gallery | None = None

    def score(self, label: str) -> Score | None:
        """Accuracy of ``label`` on the subject's engine."""
        return self.metrics.accuracy.get(f"{label} {self.metrics.subject.backend}")


def read_run(folder: Path) -> RunRecords:
    """Read the records of a finished run.

    Raises:
        InputError: it is no run folder, the run is not finished, or another version of detq
            made it.
    """
    if not (folder / LOCK).is_file():
        raise InputError(
            "is not the folder of a run",
            where=str(folder),
            hint="give the --output of a detq run or quantize",
        )
    if not (folder / METRICS).is_file():
        raise InputError(
            "holds a run that is not finished",
            where=str(folder),
            hint="the same detq run or quantize goes on with it",
        )
    metrics = _record(folder / METRICS, Metrics)
    path = folder / metrics.files[FLOAT]
    layers = _if_there(folder / "layers.json", LayerErrors)
    stats = folder / layers.stats if layers is not None else None
    return RunRecords(
        name=folder.resolve().name,
        metrics=metrics,
        manifest=_record(folder / MANIFEST, Manifest),
        detector=_detector(path),
        sizes={
            label: (folder / file).stat().st_size
            for label, file in metrics.files.items()
            if (folder / file).is_file()
        },
        seconds={file.stem: _record(file, _Step).seconds for file in _steps(folder)},
        placement=_if_there(folder / f"placement.{metrics.subject.label}.json", Placement),
        layers=layers,
        stats=load_stats(stats) if stats is not None and stats.is_file() else None,
        calibration=_if_there(folder / "calibration.json", CalibrationImages),
        gallery=_if_there(folder / "gallery.json", Gallery),
    )


class _Step(msgspec.Struct, frozen=True):
    seconds: float


def _steps(folder: Path) -> list[Path]:
    """In the order in which they were done."""
    return sorted((folder / STEPS).glob("*.json"), key=lambda file: file.stat().st_mtime_ns)


def _detector(path: Path) -> Detector:
    return detector_from_metadata(load_model(path).metadata_props, str(path))


def _if_there(path: Path, kind: type[_T]) -> _T | None:
    return _record(path, kind) if path.is_file() else None


def _record(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(
            f"cannot be read as a record of this detq: {error}",
            where=str(path),
            hint="detq run with the same recipe and folder makes what is missing again",
        ) from error
