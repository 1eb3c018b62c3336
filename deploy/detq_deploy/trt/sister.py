"""An INT8 engine beside its float16 sister: larger or slower, and why that is likely."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detq.runner import Runner
from detq_deploy.lint.findings import Finding
from detq_deploy.nvidia.engine_audit import EngineAudit
from detq_deploy.trt.request import Settings

NOISE = 1.02
"""A median that is higher by less than this is not called slower."""

_FEW = 0.7  # share of the products in INT8 under which float layers are the likely cause
_SMALL = 1.5e9  # products of one run under which a GPU mostly launches kernels


@dataclass(frozen=True)
class Sized:
    """One of the two.

    Attributes:
        plan_bytes: of the engine.
        audit: of its layers; None where they are not known.
        settings: it was built with.
        ms: median of a run; None where it was not run.
    """

    plan_bytes: int
    audit: EngineAudit | None
    settings: Settings
    ms: float | None = None


def sister_findings(int8: Sized, sister: Sized, source: str) -> tuple[Finding, ...]:
    """What INT8 should not be: larger, or slower.

    Args:
        int8: the engine.
        sister: the same network in float16.
        source: TensorRT and GPU.
    """
    found = []
    if int8.plan_bytes > sister.plan_bytes:
        sizes = f"{int8.plan_bytes / 1e6:.1f} MB, float16 has {sister.plan_bytes / 1e6:.1f} MB"
        found.append(("int8-larger", f"the INT8 engine has {sizes}"))
    if int8.ms is not None and sister.ms is not None and int8.ms > NOISE * sister.ms:
        times = f"{int8.ms:.3f} ms, float16 {sister.ms:.3f} ms"
        found.append(("int8-slower", f"an INT8 run takes {times}"))
    cause, remedy = likely_cause(int8, sister)
    return tuple(
        Finding(
            rule=rule,
            severity="warning",
            node="",
            what=f"{what}; likely because {cause}",
            source=source,
            remedy=remedy,
        )
        for rule, what in found
    )


def likely_cause(int8: Sized, sister: Sized) -> tuple[str, str]:
    """Why INT8 does not gain, and what to do: the first of the known causes that is seen."""
    if int8.settings.typing == "weak" and not int8.settings.fp16:
        return "layers without Q/DQ run in float32", "allow float16 too"
    audit = int8.audit
    if audit is None:
        return "of something that the engine does not tell", "see detq lint for this target"
    if audit.in_float:
        layers = f"{len(audit.in_float)} layers that were to be INT8 run in float"
        return layers, "see detq inspect for them, and detq lint for why"
    if audit.int8_share is not None and audit.int8_share < _FEW:
        share = f"only {100 * audit.int8_share:.0f} % of the products are in INT8"
        return share, "quantize more layers, or keep float16: the gain is in the products"
    added = audit.helpers - (0 if sister.audit is None else sister.audit.helpers)
    if added > 0:
        between = f"{added} more kernels stand between the layers, to rescale and to reformat"
        return between, "use fewer and larger float islands; detq lint counts the boundaries"
    if 0 < audit.macs < _SMALL:
        return (
            "the network is small, so that launching kernels takes the time",
            "use a larger batch or a CUDA graph, or keep float16",
        )
    return "of no cause that is known here", "compare the layers of both with detq inspect"


def median_ms(
    runs: Sequence[Runner], images: NDArray[Any], *, warm_up: int = 20, count: int = 50
) -> tuple[float, ...]:
    """Median milliseconds of a run of each, taken in turn, copies included.

    Args:
        runs: engines that take ``images``.
        images: one batch.
        warm_up: runs of each before.
        count: runs of each that count.
    """
    for run in runs:
        for _ in range(warm_up):
            run(images)
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(count):
        for run, times in zip(runs, taken, strict=True):
            start = time.perf_counter()
            run(images)
            times.append(1e3 * (time.perf_counter() - start))
    return tuple(float(np.median(times)) for times in taken)
