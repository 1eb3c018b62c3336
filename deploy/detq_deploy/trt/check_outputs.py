"""An engine beside the Q/DQ graph that it was built from: the same numbers, but for rounding."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detq.detection import BOX, Detector
from detq.errors import InputError
from detq.runner import Runner
from detq_deploy.lint.findings import Finding

LEAST_COSINE = 0.999
"""Below it something else than rounding differs: requantizing in another order costs about a step
in each layer (NVIDIA/Model-Optimizer#140 is what it looks like when a scale was lost)."""


class OutputGap(msgspec.Struct, frozen=True, kw_only=True):
    """How far one output of the engine is from the reference.

    Attributes:
        output: its name; of a detector's rows, ``boxes`` or ``scores`` of it.
        largest: difference, in the output's unit (boxes: pixels).
        relative: that, by the reference's largest value.
        cosine: of the angle between the two, over all images; 1 is the same direction.
    """

    output: str
    largest: float
    relative: float
    cosine: float


def output_gaps(
    engine: Runner, reference: Runner, images: Sequence[NDArray[Any]]
) -> tuple[OutputGap, ...]:
    """Run the same images through both.

    Args:
        engine: what was built.
        reference: the Q/DQ file, unoptimized: ``open_runner("onnxruntime", path, optimize=False)``.
        images: batches that both take.

    Raises:
        InputError: they have different outputs.
    """
    sums: dict[str, NDArray[np.float64]] = {}
    for batch in images:
        for name, ours, theirs in _pairs(engine(batch), reference(batch), _detector(reference)):
            a, b = ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
            found = np.array([a @ b, a @ a, b @ b])
            highest = np.array([np.abs(a - b).max(initial=0), np.abs(b).max(initial=0)])
            before = sums.get(name, np.zeros(5))
            sums[name] = np.concatenate([before[:3] + found, np.maximum(before[3:], highest)])
    return tuple(_gap(name, found) for name, found in sums.items())


def gap_findings(gaps: Sequence[OutputGap], source: str) -> tuple[Finding, ...]:
    """Outputs that differ by more than rounding.

    Args:
        gaps: of ``output_gaps``.
        source: the engine, for people.
    """
    return tuple(
        Finding(
            rule="engine-differs",
            severity="error",
            node=gap.output,
            what=f"differs from the Q/DQ graph: cosine {gap.cosine:.5f}, up to {gap.largest:.4g}",
            source=source,
            remedy="look at the layers of detq inspect that run otherwise than asked; leave them "
            "float, or build with another --optimization-level",
        )
        for gap in gaps
        if not gap.cosine >= LEAST_COSINE  # NaN is none either
    )


def _gap(name: str, found: NDArray[np.float64]) -> OutputGap:
    dot, ours, theirs, largest, highest = (float(value) for value in found)
    both = np.sqrt(ours * theirs)
    same = 1.0 if ours == theirs == 0 else 0.0
    return OutputGap(
        output=name,
        largest=largest,
        relative=largest / highest if highest else largest,
        cosine=float(dot / both) if both else same,
    )


def _pairs(
    ours: Mapping[str, NDArray[Any]], theirs: Mapping[str, NDArray[Any]], detector: Detector | None
) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    if set(ours) != set(theirs):
        raise InputError(
            f"gives {', '.join(ours)}, the reference {', '.join(theirs)}",
            hint="compare it with the ONNX file that it was built from",
        )
    for place, name in enumerate(theirs):
        a, b = ours[name], theirs[name]
        if a.shape != b.shape:
            raise InputError(f"{name} is of shape {a.shape}, in the reference of {b.shape}")
        if place == 0 and detector is not None and detector.suppression is None:
            # Boxes in pixels would hide everything that is wrong with scores between 0 and 1.
            axis = 2 if detector.layout == "rows" else 1
            # An objectness that is always 1 would hide it too.
            scores = slice(a.shape[axis] - len(detector.names), None)
            for part, columns in (("boxes", slice(None, BOX)), ("scores", scores)):
                cut = (slice(None),) * axis + (columns,)
                yield f"{name}: {part}", a[cut], b[cut]
        else:
            yield name, a, b


def _detector(run: Runner) -> Detector | None:
    try:
        return run.detector
    except InputError:
        return None  # not written by detq
