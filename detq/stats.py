"""What calibration observed, as frozen records, and the range that follows from it."""

import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detq.errors import CalibrationError, InputError
from detq.histogram import BINS, Histogram, add, count_values
from detq.whole_file import written_whole

# Numbers looked at together: few enough for the cache, enough that the calls cost little.
_CHUNK = 1 << 18
_LONG = 4096


@dataclass(frozen=True, slots=True, eq=False)
class TensorStats:
    """One tensor over all images seen.

    Attributes:
        minimum: smallest element.
        maximum: largest element.
        channel_minimum: float32 [C], smallest element per channel.
        channel_maximum: float32 [C], largest element per channel.
        count: elements seen.
        images: images seen.
        histogram: all elements.
    """

    minimum: float
    maximum: float
    channel_minimum: NDArray[np.float32]
    channel_maximum: NDArray[np.float32]
    count: int
    images: int
    histogram: Histogram


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationStats:
    """All that the range estimators are told.

    Attributes:
        tensors: value name to what was seen of it.
        images: names of the images, in the order they were drawn.
    """

    tensors: Mapping[str, TensorStats]
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The interval a tensor's integers should cover.

    Attributes:
        lowest: finite, at most ``highest``.
        highest: finite.

    Raises:
        CalibrationError: the interval is empty or not finite.
    """

    lowest: float
    highest: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lowest) and math.isfinite(self.highest)):
            raise CalibrationError(f"range {self.lowest} to {self.highest} is not finite")
        if self.lowest > self.highest:
            raise CalibrationError(f"range {self.lowest} to {self.highest} is empty")


def stats_of(x: NDArray[np.float32], name: str = "tensor") -> TensorStats:
    """What one batch shows of a tensor.

    Args:
        x: float32 [B, C, ...], never changed; fastest with the channels last in memory.
        name: of the tensor, for the error.

    Raises:
        CalibrationError: an element is not finite.
    """
    rows = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])
    height = max(1, _CHUNK // x.shape[1])
    parts = (rows[start : start + height] for start in range(0, len(rows), height))
    found = reduce(merge, (_stats_of_rows(part, name) for part in parts))
    return replace(found, images=len(x))


def _stats_of_rows(rows: NDArray[np.float32], name: str) -> TensorStats:
    low, high = _per_column(np.minimum, rows), _per_column(np.maximum, rows)
    lowest, highest = float(low.min()), float(high.max())
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise CalibrationError(
            "values are not finite",
            where=name,
            hint="the float model itself overflows here; check the checkpoint",
        )
    return TensorStats(
        lowest, highest, low, high, rows.size, 0, count_values(rows, lowest, highest)
    )


def _per_column(extreme: np.ufunc, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, C] to [C]; rows are laid side by side, since long ones are read faster."""
    count, channels = rows.shape
    beside = max(1, _LONG // channels)
    even = count - count % beside
    left = rows[even:]
    if even:
        long = extreme.reduce(rows[:even].reshape(-1, beside * channels), axis=0)
        left = np.concatenate([long.reshape(-1, channels), left])
    found: NDArray[np.float32] = extreme.reduce(left, axis=0)
    return found


def merge(a: TensorStats, b: TensorStats) -> TensorStats:
    """Both sets of images together: exact, and the same in any order and grouping.

    A NaN stays visible whichever side it comes from.
    """
    if a.channel_minimum.shape != b.channel_minimum.shape:
        raise AssertionError("statistics of tensors with other channels")
    return TensorStats(
        minimum=float(np.minimum(a.minimum, b.minimum)),
        maximum=float(np.maximum(a.maximum, b.maximum)),
        channel_minimum=np.minimum(a.channel_minimum, b.channel_minimum),
        channel_maximum=np.maximum(a.channel_maximum, b.channel_maximum),
        count=a.count + b.count,
        images=a.images + b.images,
        histogram=add(a.histogram, b.histogram),
    )


def side_by_side(parts: Sequence[TensorStats]) -> TensorStats:
    """Tensors of the same images joined along their channels."""
    return TensorStats(
        minimum=float(np.min([part.minimum for part in parts])),  # min() may lose a NaN
        maximum=float(np.max([part.maximum for part in parts])),
        channel_minimum=np.concatenate([part.channel_minimum for part in parts]),
        channel_maximum=np.concatenate([part.channel_maximum for part in parts]),
        count=sum(part.count for part in parts),
        images=max(part.images for part in parts),
        histogram=reduce(add, (part.histogram for part in parts)),
    )


def tied(members: Sequence[TensorStats]) -> TensorStats:
    """Tensors that share one scale, as if they were one; their channels are not kept apart."""
    nothing = np.empty(0, np.float32)
    return replace(side_by_side(members), channel_minimum=nothing, channel_maximum=nothing)


def save_stats(stats: CalibrationStats, path: Path) -> None:
    """Write an ``.npz`` that NumPy reads; the same content gives the same bytes.

    Raises:
        InputError: it cannot be written.
    """
    with written_whole(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in _columns(stats).items():
            # numpy.savez stamps each entry with the time of day.
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as file:
                np.save(file, array, allow_pickle=False)


def load_stats(path: Path) -> CalibrationStats:
    """Read what ``save_stats`` wrote.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise InputError("no such file", where=str(path), hint="calibrate to write it")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return _from_columns({name: archive[name] for name in archive.files})
    except Exception as error:  # numpy, zipfile and zlib each raise classes of their own
        raise InputError(
            f"is not a file of calibration statistics: {error}",
            where=str(path),
            hint="calibrate again to write it",
        ) from error


def _columns(stats: CalibrationStats) -> dict[str, NDArray[Any]]:
    """One row per tensor, in the order of the names; channels one after another."""
    names = sorted(stats.tensors)
    rows = [stats.tensors[name] for name in names]
    none = [np.empty(0, np.float32)]
    positive = [_used(row.histogram.positive) for row in rows]
    negative = [_used(row.histogram.negative) for row in rows]
    return {
        "names": np.array(names, np.str_),
        "minimum": np.array([row.minimum for row in rows], np.float64),
        "maximum": np.array([row.maximum for row in rows], np.float64),
        "count": np.array([row.count for row in rows], np.int64),
        "seen": np.array([row.images for row in rows], np.int64),
        "channels": np.array([len(row.channel_minimum) for row in rows], np.int64),
        "channel_minimum": np.concatenate([*(row.channel_minimum for row in rows), *none]),
        "channel_maximum": np.concatenate([*(row.channel_maximum for row in rows), *none]),
        "exponent": np.array([row.histogram.exponent for row in rows], np.int64),
        "zeros": np.array([row.histogram.zeros for row in rows], np.int64),
        "positive_bins": np.array([len(counts) for counts in positive], np.int64),
        "negative_bins": np.array([len(counts) for counts in negative], np.int64),
        "positive": np.concatenate([*positive, np.empty(0, np.int64)]),
        "negative": np.concatenate([*negative, np.empty(0, np.int64)]),
        "images": np.array(stats.images, np.str_),
    }


def _used(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Without the empty bins behind the last value."""
    return counts[: int(np.flatnonzero(counts)[-1]) + 1] if counts.any() else counts[:0]


def _padded(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.pad(counts, (0, BINS - len(counts)))


def _from_columns(columns: Mapping[str, NDArray[Any]]) -> CalibrationStats:
    if "names" in columns and "positive" not in columns:
        raise ValueError("it holds no histograms, an earlier detq wrote it")
    histograms = map(
        Histogram,
        columns["exponent"].tolist(),
        map(_padded, _split(columns, "positive", "positive_bins")),
        map(_padded, _split(columns, "negative", "negative_bins")),
        columns["zeros"].tolist(),
    )
    rows = zip(
        columns["names"].tolist(),
        columns["minimum"].tolist(),
        columns["maximum"].tolist(),
        _split(columns, "channel_minimum", "channels"),
        _split(columns, "channel_maximum", "channels"),
        columns["count"].tolist(),
        columns["seen"].tolist(),
        histograms,
        strict=True,
    )
    tensors = {name: TensorStats(*row) for name, *row in rows}
    return CalibrationStats(tensors, tuple(columns["images"].tolist()))


def _split(columns: Mapping[str, NDArray[Any]], name: str, lengths: str) -> list[NDArray[Any]]:
    return np.split(columns[name], np.cumsum(columns[lengths]))[:-1]
