"""Kullback-Leibler divergence between a histogram and what few levels leave of it.

For a histogram h of n bins and L levels, every i from L to n is a candidate: what lies
behind the first i bins is clipped.

    p   h_1 … h_i, and Σ_{b>i} h_b added to the last       P = Σ p = Σ h
    q   h_1 … h_i in L groups of equal width; each group's sum spread evenly over its bins
        that are not empty                                  Q = Σ q = Σ_{b≤i} h_b

Bin b (from 0) is in group ⌊b·L / i⌋. The clipped mass is in p and not in q, so P ≠ Q as soon
as something is clipped. Four forms of the divergence differ in what they do where q = 0 < p,
which is the last bin alone, where h_i = 0 and something is clipped:

    strict     Σ p/P·(log p/P - log q/Q), infinite there
    exact      1e-12 is added to each p/P and q/Q; that both then sum to the same number
               above 1 is less than 1e-8 of the divergence
    masked     the sum of ``strict`` without that bin; it may be negative
    published  Σ (p·log(P·p) - p·log(Q·q)) / P without that bin: the normalizers the other
               way round, so it exceeds ``masked`` by 2·(log P - log Q) times the covered mass

Many candidates are computed at once: sums over groups are differences of running sums. A
divergence never grows when bins are taken together, so that of two parts, the last group and
the rest, is a lower bound for ``strict`` and ``exact``; candidates above the best of a few
need not be computed.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Form = Literal["strict", "exact", "masked", "published"]
DELTA = 1e-12

_TINY = float(np.finfo(np.float64).tiny)
_BLOCK = 64  # candidates at once: their sums stay in the cache
_FEW = 32  # every so many candidates are computed first
_SLACK = 1e-9  # what 1e-12 added to each of a few thousand bins can move a bound


def bins_to_keep(counts: NDArray[np.float64], levels: int, form: Form) -> int:
    """The i with the least divergence, the largest of equals.

    Args:
        counts: float64 [n], not all zero.
        levels: at most n.
        form: see above.
    """
    kept = np.arange(levels, len(counts) + 1)
    if form in ("strict", "exact"):
        tried = divergences(counts, levels, form, kept[::-_FEW])
        kept = kept[_lower_bound(counts, levels, kept) <= tried.min() + _SLACK]
    found = divergences(counts, levels, form, kept)
    return int(kept[::-1][np.argmin(found[::-1])])


def divergences(
    counts: NDArray[np.float64], levels: int, form: Form, kept: NDArray[np.intp]
) -> NDArray[np.float64]:
    """The divergence with each number of bins kept; infinite if all of them are empty.

    Args:
        counts: float64 [n], not all zero.
        levels: at most n.
        form: see above.
        kept: values of i, from ``levels`` to n.
    """
    delta = DELTA if form == "exact" else 0.0
    running = _running(counts)
    P, Q = running[-1], running[kept]
    last, clipped = counts[kept - 1] / P, 1 - Q / P
    ended = last > 0  # else nothing but the clipped mass is in the last bin
    piled = np.where(ended, last + clipped + delta, 0)
    p = np.where(counts > 0, counts / P + delta, 0)
    entropy = _running(_xlogx(p))[kept] + _xlogx(piled) - _xlogx(p[kept - 1])
    cross, log_q = _cross_entropy(counts, levels, delta, kept)
    found: NDArray[np.float64] = entropy - cross - np.where(ended, clipped * log_q, 0)
    alone = ~ended & (clipped > 0)
    if form == "strict":
        found[alone] = np.inf
    elif form == "exact":
        lost = np.where(alone, clipped + delta, 1)
        found += np.where(alone, lost * (np.log(lost) - np.log(delta)), 0)
    elif form == "published":
        found -= 2 * np.where(alone, 1 - clipped, 1) * np.log(np.maximum(Q / P, _TINY))
    found[Q == 0] = np.inf
    return found


def _cross_entropy(
    counts: NDArray[np.float64], levels: int, delta: float, kept: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Σ (h/P + δ)·log(q/Q + δ) over the bins that are not empty, and the last bin's logarithm."""
    running, occupied = _running(counts), _running(counts > 0)
    groups = np.arange(levels + 1)
    sums, last = np.empty(len(kept)), np.empty(len(kept))
    for start in range(0, len(kept), _BLOCK):
        block = kept[start : start + _BLOCK, None]
        ends = -(-groups * block // levels)
        mass, bins = np.diff(running[ends]), np.diff(occupied[ends])
        q = mass / np.maximum(bins, 1)
        q /= np.maximum(running[block], _TINY)
        log_q = np.log(q + (delta or _TINY))
        mass /= running[-1]
        sums[start : start + _BLOCK] = np.einsum("ig,ig->i", mass + bins * delta, log_q)
        last[start : start + _BLOCK] = log_q[:, -1]
    return sums, last


def _lower_bound(
    counts: NDArray[np.float64], levels: int, kept: NDArray[np.intp]
) -> NDArray[np.float64]:
    running = _running(counts)
    before = running[-(-(levels - 1) * kept // levels)]
    p = before / running[-1]
    q = before / np.maximum(running[kept], _TINY)
    with np.errstate(divide="ignore", invalid="ignore"):
        rest, last = p * np.log(p / q), (1 - p) * np.log((1 - p) / np.maximum(1 - q, DELTA))
    bound: NDArray[np.float64] = np.where(p > 0, rest, 0) + np.where(p < 1, last, 0)
    return bound


def _running(x: NDArray[np.float64] | NDArray[np.bool_]) -> NDArray[np.float64]:
    """Float64 [n + 1], sums of the first 0 … n."""
    return np.append(0.0, np.cumsum(x, dtype=np.float64))


def _xlogx(x: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = x * np.log(np.where(x > 0, x, 1.0))
    return found
