"""What calibration saw of a rounded tensor, beside the range that was chosen for it."""

import math
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from detq.histogram import Histogram
from detq.layer_error import TensorRange
from detq.stats import TensorStats
from detq_eval.report.charts import histogram
from detq_eval.report.text import number

BINS = 72  # columns that fit a small picture


@dataclass(frozen=True, slots=True)
class Density:
    """A histogram with fewer bins, without the zeros.

    Attributes:
        edges: one more than counts, rising.
        counts: values seen in each bin.
        zeros: share of the values that are zero, 0 to 1.
    """

    edges: list[float]
    counts: list[int]
    zeros: float


def density(found: Histogram, bins: int = BINS) -> Density:
    """Neighbouring bins joined, a power of two of them, until at most ``bins`` are used.

    Args:
        found: of a tensor.
        bins: at most.
    """
    below, above = _used(found.negative), _used(found.positive)
    together = 1
    while math.ceil(below / together) + math.ceil(above / together) > max(bins, 2):
        together *= 2
    left, right = _joined(found.negative, together), _joined(found.positive, together)
    n, p = math.ceil(below / together), math.ceil(above / together)
    width = found.width * together
    counts = [*left[:n][::-1].tolist(), *right[:p].tolist()]
    edges = [width * place for place in range(-n, p + 1)]
    return Density(edges, counts, found.zeros / max(found.count, 1))


def outside(found: Histogram, chosen: TensorRange) -> float:
    """Share of the values that lie wholly outside the range, 0 to 1, to the bin."""
    starts = np.arange(len(found.positive)) * found.width
    # A value within half a step of the last integer is rounded to it, not clipped.
    over = found.positive[starts > chosen.highest + chosen.scale / 2].sum()
    under = found.negative[starts > -chosen.lowest + chosen.scale / 2].sum()
    return float(over + under) / max(found.count, 1)


def tensor_chart(seen: TensorStats, chosen: TensorRange) -> Markup:
    """The histogram with the range that was chosen."""
    thinned = density(seen.histogram)
    told = (
        f"{chosen.value}\nseen {number(seen.minimum)} to {number(seen.maximum)}, covered "
        f"{number(chosen.lowest)} to {number(chosen.highest)} in steps of {number(chosen.scale)}"
    )
    return histogram(thinned.edges, thinned.counts, chosen.lowest, chosen.highest, told)


def _used(counts: NDArray[np.int64]) -> int:
    """Bins up to the last that is not empty."""
    filled = np.flatnonzero(counts)
    return int(filled[-1]) + 1 if len(filled) else 0


def _joined(counts: NDArray[np.int64], together: int) -> NDArray[np.int64]:
    wide: NDArray[np.int64] = counts.reshape(-1, min(together, len(counts))).sum(axis=1)
    return wide
