"""Range rules value by value, bin by bin, in float64: slow, and written from the formulas.

They share no line with the product and no trick: no running sums, no closed forms.
"""

from collections.abc import Sequence
from math import inf, log

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def percentile(values: Values, percent: float, signed: bool) -> float:
    """The smallest value that percent % of the magnitudes do not exceed."""
    magnitudes = sorted(abs(v) if signed else max(v, 0.0) for v in values.tolist())
    needed = percent / 100 * len(magnitudes)
    for number, magnitude in enumerate(magnitudes, start=1):
        if number >= needed:
            return magnitude
    raise AssertionError("more than all values")


def squared_error(values: Values, threshold: float, lowest: int, highest: int) -> float:
    """Σ (x - Q(x))² with the scale that puts the largest integer on the threshold."""
    scale = threshold / highest
    total = 0.0
    for x in values.tolist():
        total += (x - scale * min(max(round(x / scale), lowest), highest)) ** 2
    return total


def histogram(magnitudes: Values, bins: int) -> list[float]:
    """Counts in equal bins from 0 to the largest; the last one holds its upper end."""
    width = float(magnitudes.max()) / bins
    counts = [0.0] * bins
    for magnitude in magnitudes.tolist():
        counts[min(int(magnitude / width), bins - 1)] += 1
    return counts


def divergence(counts: Sequence[float], kept: int, levels: int, form: str) -> float:
    """Of a histogram cut after ``kept`` bins and the same bins in ``levels`` groups."""
    p = [float(count) for count in counts[:kept]]
    clipped = sum(counts[kept:])
    p[-1] += clipped
    groups = [[b for b in range(kept) if b * levels // kept == g] for g in range(levels)]
    q = [0.0] * kept
    for group in groups:
        filled = [b for b in group if counts[b] > 0]
        for b in filled:
            q[b] = sum(counts[b] for b in group) / len(filled)
    P, Q = sum(p), sum(q)
    if Q == 0:
        return inf
    if form == "exact":
        p = _smoothed(p)
        q = _smoothed(q)
        return sum(a * (log(a) - log(b)) for a, b in zip(p, q, strict=True))
    pairs = [(a, b) for a, b in zip(p, q, strict=True) if a > 0]
    if form == "strict":
        if any(b == 0 for _, b in pairs):
            return inf
        return sum(a / P * log((a / P) / (b / Q)) for a, b in pairs)
    pairs = [(a, b) for a, b in pairs if b > 0]
    if form == "masked":
        return sum(a / P * (log(a / P) - log(b / Q)) for a, b in pairs)
    if form == "published":
        return (sum(a * log(P * a) for a, _ in pairs) - sum(a * log(Q * b) for a, b in pairs)) / P
    raise AssertionError(form)


def _smoothed(x: Sequence[float]) -> list[float]:
    total = sum(x)
    raised = [value / total + 1e-12 for value in x]
    return [value / sum(raised) for value in raised]


def least(counts: Sequence[float], levels: int, form: str) -> tuple[int, list[float]]:
    """The number of bins kept with the least divergence, and all of them from ``levels``."""
    found = [divergence(counts, kept, levels, form) for kept in range(levels, len(counts) + 1)]
    best = levels
    for kept, value in enumerate(found, start=levels):
        if value <= found[best - levels]:
            best = kept
    return best, found
