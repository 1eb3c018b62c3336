"""From raw predictions of several levels to rows of boxes: what anchor-free heads share.

Anchor points are the centres of the cells, in cells; a level's stride turns cells into
pixels. A box is given by its distances left, top, right, bottom from the point, either
directly or as the mean of a distribution over bins (DFL).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from detq.errors import InputError
from detq.graph.build import Builder, channels, size_of
from detq.torch_file.module import Array, Module

Levels = Sequence[ir.Value]
LARGEST_SIZE = 8192  # pixels; a constant is kept for every cell


def check_size(size: tuple[int, int], strides: Sequence[int]) -> None:
    """Every level has a whole number of cells.

    Raises:
        InputError: height or width is not a multiple of the largest stride.
    """
    step = max(strides)
    if all(step <= n <= LARGEST_SIZE and n % step == 0 for n in size):
        return
    height, width = (min(max(-(-n // step), 1) * step, LARGEST_SIZE) for n in size)
    raise InputError(
        f"an input of {size[0]}x{size[1]} does not fit: height and width must be multiples of "
        f"{step} up to {LARGEST_SIZE}",
        where="size",
        hint=f"the next valid size is {height}x{width}",
    )


def check_level(m: Module, level: ir.Value, stride: int, size: tuple[int, int]) -> None:
    """A level has the resolution that its stride says.

    Raises:
        CheckpointError: it has not.
    """
    if tuple(n * stride for n in size_of(level)) != size:
        raise m.damaged(f"stride {stride} for a level of {size_of(level)} at {size}")


def joined(to: Builder, levels: Levels, name: str) -> ir.Value:
    """All cells of all levels in one row: [N, C, L]."""
    flat = [to.reshape(x, [channels(x), _cells(x)], name=f"{name}.flat") for x in levels]
    batch, count, _ = _shape(flat[0])
    return to.op("Concat", *flat, name=name, shape=[batch, count, sum(map(_cells, levels))], axis=2)


def points_of(levels: Levels, offset: float) -> Array:
    """X and y of every cell in cells, its corner and ``offset``: [1, 2, L]."""
    grids = []
    for x in levels:
        y_of, x_of = np.indices(size_of(x), np.float32)
        grids.append(np.stack([x_of.ravel(), y_of.ravel()]) + np.float32(offset))
    return np.concatenate(grids, axis=1)[None]


def stride_of_points(levels: Levels, strides: Sequence[int]) -> Array:
    """Pixels per cell of every point: [1, 1, L]."""
    of_points = np.repeat(np.array(strides, np.float32), [_cells(x) for x in levels])
    return of_points[None, None]


def boxes_from_distances(
    to: Builder, distances: ir.Value, points: ir.Value, step: ir.Value
) -> ir.Value:
    """Centre x, y, width, height in pixels [N, 4, L]."""
    left_top, right_bottom = to.split_channels(distances, [2, 2])
    low = to.op("Sub", points, left_top, name="low", shape=_shape(left_top))
    high = to.elementwise("Add", right_bottom, points, name="high")
    half = to.constant("half", np.array(0.5, np.float32))
    centre = to.elementwise("Mul", to.elementwise("Add", low, high), half, name="centre")
    whole = to.concat([centre, to.elementwise("Sub", high, low, name="size")], name="cells")
    return to.elementwise("Mul", whole, step, name="pixels")


def mean_of_bins(to: Builder, m: Module, boxes: ir.Value, projection: Array) -> ir.Value:
    """Mean of the softmax over the bins of each side: [N, 4 * bins, L] to [N, 4, L].

    Args:
        to: the graph under way.
        m: the head, for messages.
        boxes: raw predictions.
        projection: value of each bin [1, bins, 1, 1].

    Raises:
        UnsupportedBlockError: they are not four sides of so many bins.
    """
    bins, length = projection.shape[1], int(_shape(boxes)[2])
    if projection.shape != (1, bins, 1, 1) or channels(boxes) != 4 * bins:
        raise m.unsupported(f"{channels(boxes)} box channels with {bins} bins")
    sides = to.reshape(boxes, [4, bins, length], name="sides")
    by_bin = to.transpose(sides, [0, 2, 1, 3], name="bins")
    share = to.elementwise("Softmax", by_bin, axis=1)
    mean = to.conv(share, projection, name="proj_conv")
    return to.reshape(mean, [4, length], name="distances")


def certain(to: Builder, scores: ir.Value) -> ir.Value:
    """Objectness 1 for every row, whatever the batch: [N, 1, L]."""
    (row,) = to.split_channels(scores, [1])
    zero = to.constant("zero", np.array(0, np.float32))
    one = to.constant("one", np.array(1, np.float32))
    return to.elementwise("Add", to.elementwise("Mul", row, zero), one, name="objectness")


def rows_of(to: Builder, parts: Sequence[ir.Value]) -> ir.Value:
    """One row per box: [N, L, columns] of parts [N, some columns, L]."""
    return to.transpose(to.concat(parts, name="columns"), [0, 2, 1], name="rows")


def _shape(x: ir.Value) -> list[Any]:
    return [] if x.shape is None else list(x.shape)


def _cells(x: ir.Value) -> int:
    height, width = size_of(x)
    return height * width
