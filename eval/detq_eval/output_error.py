"""How far the raw outputs of one model are from another's, box and score columns apart."""

from collections.abc import Mapping
from math import log10
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

# Columns of the output [B, L, 5 + nc] that share a unit.
PARTS: Mapping[str, slice] = {"boxes": slice(0, 4), "scores": slice(4, None)}
_OBJECTNESS = 1  # columns; 1 everywhere in an anchor-free head, which is no signal


class OutputError(msgspec.Struct, frozen=True):
    """One part of one output against the reference.

    Attributes:
        output: name of the output, and of the part.
        unit: of the errors.
        largest: largest absolute difference.
        mean: mean absolute difference.
        span: largest minus smallest value of the reference.
        snr_db: sum of the reference's squares over that of the differences, in dB; infinite
            where nothing differs. Of the scores those of the classes, without objectness.
    """

    output: str
    unit: str
    largest: float
    mean: float
    span: float
    snr_db: float


class ErrorMeter:
    """Adds up differences image by image; memory does not grow."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], _Part] = {}

    def add(self, reference: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> None:
        """One more batch of both; outputs the other does not have are passed over."""
        for name, wanted in reference.items():
            if name not in other or other[name].shape != wanted.shape:
                continue
            for part, columns in PARTS.items():
                meter = self._parts.setdefault((name, part), _Part())
                meter.add(
                    wanted[..., columns],
                    other[name][..., columns],
                    _OBJECTNESS if part == "scores" else 0,
                )

    def errors(self) -> tuple[OutputError, ...]:
        """What was found so far."""
        return tuple(
            OutputError(
                f"{name} {part}",
                "px" if part == "boxes" else "",
                meter.largest,
                meter.total / max(meter.count, 1),
                max(meter.high - meter.low, 0.0),
                meter.snr_db(),
            )
            for (name, part), meter in self._parts.items()
        )


class _Part:
    def __init__(self) -> None:
        self.largest, self.total, self.count = 0.0, 0.0, 0
        self.low, self.high = float("inf"), float("-inf")
        self.signal, self.noise = 0.0, 0.0

    def add(self, wanted: NDArray[Any], found: NDArray[Any], no_signal: int) -> None:
        difference = np.abs(wanted.astype(np.float64) - found)
        self.largest = max(self.largest, float(difference.max(initial=0)))
        self.total += float(difference.sum())
        self.count += difference.size
        self.low = min(self.low, float(wanted.min(initial=np.inf)))
        self.high = max(self.high, float(wanted.max(initial=-np.inf)))
        self.signal += float(np.square(wanted[..., no_signal:], dtype=np.float64).sum())
        self.noise += float(np.square(difference[..., no_signal:]).sum())

    def snr_db(self) -> float:
        if not self.noise:
            return float("inf")
        return 10 * log10(self.signal / self.noise) if self.signal else float("-inf")
