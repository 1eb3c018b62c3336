"""Kullback-Leibler divergence between a histogram and what few levels leave of it.

For a histogram h of n bins and L levels, every i from L to n is a candidate: what lies
behind the first i bins is clipped.

    p   h_1 … h_i, and Σ_{b>i} h_b added to the last       P = Σ p = Σ h
    q   h_1 … h_i in L groups of equal width; each group's sum spread evenly over its bins
        that are not empty                                  Q = Σ q = Σ_{b≤i} h_b

Bin b (from 0) is in group ⌊b·L / i⌋. The clipped mass is in p and not in q, so P ≠ Q as soon
as something is clipped. Four forms of the divergence differ in what they do where q = 0 < p,
which is the last bin alone, where h_i = 0 and something is clipped:

    strict     Σ p/P·(log p/P − log q/Q), infinite there
    exact      1e-12 is added to each p/P and q/Q, and both are scaled to a sum of 1
    masked     the sum of ``strict`` without that bin; it may be negative
    published  Σ (p·log(P·p) − p·log(Q·q)) / P without that bin: the normalizers the other
               way round, so it exceeds ``masked`` by 2·(log P − log Q) times the covered mass

All candidates are computed at once: sums over groups are differences of running sums.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Form = Literal["strict", "exact", "masked", "published"]
DELTA = 1e-12

_TINY = float(np.finfo(np.float64).tiny)
_BLOCK = 64  # candidates at once: their sums stay in the cache


def divergences(counts: NDArray[np.float64], levels: int, form: Form) -> NDArray[np.float64]:
    """Float64 [n − levels + 1], the divergence with i = levels … n bins kept.

    Args:
        counts: float64 [n], not all zero.
        levels: at most n.
        form: see above; a candidate of which nothing is kept is infinite.
    """
    delta = DELTA if form == "exact" else 0.0
    kept = np.arange(levels, len(counts) + 1)
    running = _running(counts)
    P, Q = running[-1], running[kept]
    last, clipped = counts[kept - 1] / P, 1 - Q / P
    ended = last > 0  # else nothing but the clipped mass is in the last bin
    piled = np.where(ended, last + clipped + delta, 0)
    p = np.where(counts > 0, counts / P + delta, 0)
    entropy = _running(_xlogx(p))[kept] + _xlogx(piled) - _xlogx(p[kept - 1])
    cross, log_q = _cross_entropy(counts, levels, delta)
    found = entropy - cross - np.where(ended, clipped * log_q, 0)
    alone = ~ended & (clipped > 0)
    if form == "strict":
        found[alone] = np.inf
    elif form == "exact":
        lost = np.where(alone, clipped + delta, 1)
        found += np.where(alone, lost * (np.log(lost) - np.log(delta)), 0)
        found /= 1 + kept * delta
    elif form == "published":
        found -= 2 * np.where(alone, 1 - clipped, 1) * np.log(np.maximum(Q / P, _TINY))
    return np.where(Q > 0, found, np.inf)


def _cross_entropy(
    counts: NDArray[np.float64], levels: int, delta: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Σ (h/P + δ)·log(q/Q + δ) over the bins that are not empty, and the last bin's logarithm."""
    ends = _ends(len(counts), levels)
    running, occupied = _running(counts), _running(counts > 0)
    sums, last = np.empty(len(ends)), np.empty(len(ends))
    for start in range(0, len(ends), _BLOCK):
        block = slice(start, start + _BLOCK)
        mass, bins = np.diff(running[ends[block]]), np.diff(occupied[ends[block]])
        q = mass / np.maximum(bins, 1)
        q /= np.maximum(running[ends[block, -1:]], _TINY)
        log_q = np.log(q + (delta or _TINY))
        mass /= running[-1]
        sums[block] = np.einsum("ig,ig->i", mass + bins * delta, log_q)
        last[block] = log_q[:, -1]
    return sums, last


def widest_of_least(found: NDArray[np.float64], levels: int) -> int:
    """Bins kept by the candidate with the least divergence, the largest number of equals."""
    return len(found) - 1 - int(np.argmin(found[::-1])) + levels


@lru_cache(maxsize=4)
def _ends(bins: int, levels: int) -> NDArray[np.intp]:
    """[candidates, levels + 1], the bin at which each group of each candidate begins."""
    kept = np.arange(levels, bins + 1)[:, None]
    ends: NDArray[np.intp] = -(-np.arange(levels + 1) * kept // levels)
    ends.flags.writeable = False
    return ends


def _running(x: NDArray[np.float64] | NDArray[np.bool_]) -> NDArray[np.float64]:
    """Float64 [n + 1], sums of the first 0 … n."""
    return np.concatenate([[0.0], np.cumsum(x, dtype=np.float64)])


def _xlogx(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x * np.log(np.where(x > 0, x, 1.0))
