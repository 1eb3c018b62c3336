"""After a build: the engine beside its ONNX file, and beside its float16 sister."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from numpy.typing import NDArray

from detq.errors import DetqError
from detq.runner import Runner
from detq_deploy.backends import open_runner
from detq_deploy.bench_images import batches, input_size, takes_pixels
from detq_deploy.lint.findings import Finding
from detq_deploy.trt.check_outputs import OutputGap, gap_findings, output_gaps
from detq_deploy.trt.make import Made, Order, make_engine, request_for
from detq_deploy.trt.progress import Tell
from detq_deploy.trt.sister import Sized, median_ms, sister_findings

Warn = Callable[[str], None]
_SISTER = "float16.engine"


@dataclass(frozen=True)
class Sister:
    """The float16 engine of the same network.

    Attributes:
        plan_bytes: its size.
        int8_bytes: size of the INT8 engine.
        ms: median of a run; None where it was not run.
        int8_ms: the same of the INT8 engine.
    """

    plan_bytes: int
    int8_bytes: int
    ms: float | None
    int8_ms: float | None

    @property
    def text(self) -> str:
        """One line for people."""
        times = "" if self.ms is None else f"; {self.int8_ms:.3f} ms, float16 {self.ms:.3f} ms"
        sizes = f"{self.int8_bytes / 1e6:.1f} MB, float16 {self.plan_bytes / 1e6:.1f} MB"
        return f"INT8 beside float16: {sizes}{times}"


def compared_with_reference(
    onnx: Path,
    engine: Path,
    warn: Warn,
    opened: Callable[[Path], Runner] = lambda engine: open_runner("tensorrt", engine),
) -> tuple[tuple[OutputGap, ...], tuple[Finding, ...]]:
    """Noise through the engine and through its ONNX file, node by node in ONNX Runtime.

    Args:
        onnx: it was built from.
        engine: to be compared.
        warn: is told why nothing could be compared.
        opened: runs the engine; here if not given.
    """
    try:
        with (
            open_runner("onnxruntime", onnx, optimize=False) as reference,
            opened(engine) as run,
        ):
            gaps = output_gaps(run, reference, _noise(onnx, run, reference))
            return gaps, gap_findings(gaps, run.name)
    except DetqError as error:
        warn(f"the engine was not compared with its ONNX file: {error}")
        return (), ()


def sister_of(order: Order, beside: Path) -> Order:
    """The same engine of a float file."""
    settings = msgspec.structs.replace(order.settings, int8=False, fp16=True)
    return replace(order, onnx=beside, settings=settings, calibration_cache=None)


def check_sister(order: Order, beside: Path) -> None:
    """Whether a float file can be built beside, before the long work on the other.

    Raises:
        InputError: the file is missing, not ONNX, or written for something else.
    """
    request_for(sister_of(order, beside), Path(_SISTER))


def compared_with_sister(
    order: Order, made: Made, engine: Path, beside: Path, tell: Tell, *, run: bool
) -> tuple[Sister, tuple[Finding, ...]]:
    """Build the float file in the same way, and compare size, time and layers.

    Args:
        order: of the INT8 engine.
        made: of it.
        engine: its file.
        beside: float ONNX file of the same network.
        tell: is told how far the build is.
        run: whether both can be run here.

    Raises:
        DetqError: as ``make_engine``.
    """
    assert made.side_car is not None
    wanted = sister_of(order, beside)
    with TemporaryDirectory() as folder:
        path = Path(folder) / _SISTER
        sister = make_engine(wanted, path, tell)
        if sister.side_car is None:
            return Sister(0, made.side_car.engine_bytes, None, None), sister.findings
        times: Sequence[float | None] = (None, None)
        if run:
            with open_runner("tensorrt", engine) as ours, open_runner("tensorrt", path) as theirs:
                times = median_ms((ours, theirs), _noise(order.onnx, ours, theirs)[0])
    int8 = Sized(made.side_car.engine_bytes, made.audit, order.settings, times[0])
    other = Sized(sister.side_car.engine_bytes, sister.audit, wanted.settings, times[1])
    found = sister_findings(int8, other, made.side_car.machine.title)
    return Sister(other.plan_bytes, int8.plan_bytes, other.ms, int8.ms), found


def _noise(onnx: Path, *runs: Runner) -> list[NDArray[Any]]:
    batch = next((run.batch for run in runs if run.batch), 1)
    pixels = takes_pixels(runs[0])
    return batches(batch, input_size(onnx, runs[-1]), None, pixels=pixels)
