"""From samples of time to the figures that are printed."""

from collections.abc import Sequence

import msgspec
import numpy as np


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Where samples lie; the unit is the field's that holds it."""

    median: float
    p10: float
    p90: float
    p99: float
    min: float


def spread(samples: Sequence[float]) -> Spread:
    """Quantiles by linear interpolation; at least one sample."""
    found = np.quantile(np.asarray(samples, np.float64), [0.1, 0.5, 0.9, 0.99]).tolist()
    p10, median, p90, p99 = found
    return Spread(median=median, p10=p10, p90=p90, p99=p99, min=float(min(samples)))


def speedup(base_ms: Sequence[float], other_ms: Sequence[float]) -> Spread:
    """How many times faster ``other`` is than ``base``, above 1 where it is faster.

    The ratio is taken within each round, where both met the same state of the machine,
    and its quantiles over the rounds.
    """
    return spread([base / other for base, other in zip(base_ms, other_ms, strict=True)])
