"""A range for every channel by itself, clipped where that loses least: a pass of its own.

The largest magnitude of each channel is known from the first pass, so equal bins up to it need no
growing. Per channel c the threshold is the one with the least squared error of rounding and
clipping together (:mod:`detq.ranges.mse`). This is dual clipping of RepQuant for a grid that is
symmetric around zero: of a lower and an upper bound per channel, the farther one counts.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detq.graph.execute import compile_slice, exact_float32, execute, parameters
from detq.model import FloatModel
from detq.numerics import Grid
from detq.ranges.magnitudes import Magnitudes
from detq.ranges.mse import squared_error

Floats = NDArray[np.float64]

BINS = 512  # the smallest threshold has 32 of them
CANDIDATES = 48
OCTAVES = 4


def clipped_channels(
    model: FloatModel,
    largest: Mapping[str, Floats],
    grid: Grid,
    batches: Iterable[NDArray[np.float32]],
    on_step: Callable[[int], None] = lambda images: None,
) -> dict[str, Floats]:
    """Value name → float64 [C], the range of each channel; at most the largest magnitude.

    Args:
        model: the float network.
        largest: value name → float64 [C], the largest magnitude seen in each channel.
        grid: that the tensors will be rounded to.
        batches: float32 [B, 3, H, W], the images that ``largest`` was seen on.
        on_step: told the number of images of each batch.
    """
    counters = {name: _Counter(top) for name, top in largest.items() if top.ndim == 1}
    graph = model.graph.graph
    feed = str(graph.inputs[0].name)
    program = compile_slice(graph, [feed])
    params = parameters(program)

    def look(name: str, tensor: Tensor) -> Tensor:
        if name in counters and tensor.dim() > 2:
            counters[name].add(tensor)
        return tensor

    with torch.inference_mode(), exact_float32():
        for batch in batches:
            execute(program, {feed: torch.from_numpy(batch)}, params, tap=look)
            on_step(len(batch))
    return {name: counter.ranges(grid) for name, counter in counters.items()}


class _Counter:
    """Magnitudes of one tensor above zero, int64 [C, BINS]; memory does not grow with images."""

    def __init__(self, largest: Floats) -> None:
        self._largest = largest
        self._counts = np.zeros((len(largest), BINS), np.int64)
        self._scale = torch.from_numpy(BINS / np.where(largest > 0, largest, np.inf))

    def add(self, x: Tensor) -> None:
        channels = len(self._largest)
        rows = x.movedim(1, 0).reshape(channels, -1).abs()
        codes = (rows * self._scale.to(rows.dtype)[:, None]).long().clamp_(max=BINS - 1)
        codes += (torch.arange(channels) * BINS)[:, None]
        counts = torch.bincount(codes[rows > 0], minlength=channels * BINS)
        self._counts += counts.reshape(channels, BINS).numpy()

    def ranges(self, grid: Grid) -> Floats:
        return np.array(
            [_least(*row, grid) for row in zip(self._counts, self._largest, strict=True)]
        )


def _least(counts: NDArray[np.int64], largest: float, grid: Grid) -> float:
    if not largest or not counts.any():
        return largest
    seen = Magnitudes(counts.astype(np.float64), largest * np.arange(BINS + 1) / BINS)
    tried = largest * np.exp2(-np.arange(CANDIDATES) * (OCTAVES / CANDIDATES))
    error = squared_error(seen, tried / grid.highest, grid.highest)
    return float(tried[np.argmin(error)])
