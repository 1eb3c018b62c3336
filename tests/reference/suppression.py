"""Non-maximum suppression, one pair after the other, every step in float32."""

import numpy as np
from numpy.typing import NDArray

F = np.float32
Rows = NDArray[np.float32]


def suppress(
    rows: Rows, confidence: float, iou: float, most: int, multi_label: bool, agnostic: bool
) -> list[tuple[float, ...]]:
    found = []
    for row in rows:
        scores = [s * row[4] for s in row[5:]]
        x, y, w, h = row[0], row[1], row[2] / F(2), row[3] / F(2)
        box = (x - w, y - h, x + w, y + h)
        best = max(range(len(scores)), key=lambda c: (scores[c], -c))
        found += [
            (*box, scores[label], label)
            for label in (range(len(scores)) if multi_label else [best])
            if row[4] > F(confidence) and scores[label] > F(confidence)
        ]
    found.sort(key=lambda one: -one[4])
    kept: list[tuple[float, ...]] = []
    for one in found[:30000]:
        if not any(_overlap(one, other, agnostic) > iou for other in kept):
            kept.append(one)
    return kept[:most]


def _overlap(a: tuple[float, ...], b: tuple[float, ...], agnostic: bool) -> float:
    a, b = (tuple(side + F(0 if agnostic else 4096 * one[5]) for side in one[:4]) for one in (a, b))
    wide = max(min(a[2], b[2]) - max(a[0], b[0]), F(0))
    high = max(min(a[3], b[3]) - max(a[1], b[1]), F(0))
    inter = wide * high
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return float(inter / union) if union > 0 else float("nan")
