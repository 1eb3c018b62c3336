"""From raw predictions to rows of box, objectness and scores.

Anchor points are the centres of the cells, in cells; a level's stride turns cells into
pixels. A box is given by its distances left, top, right, bottom from the point, either
directly or as the mean of a distribution over bins (DFL). Generation 0.1 gives the centre
relative to the cell's corner and the logarithm of the size instead.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from detq.graph.build import DECODE, Builder, channels, size_of
from yolov6_adapter.backbone import Features
from yolov6_adapter.head import Predictions
from yolov6_adapter.module import Array, Module

LANDMARKS = 10  # five points of a face


def write_decode(to: Builder, m: Module, found: Predictions, strides: Sequence[int]) -> ir.Value:
    """Rows [N, L, 5 + nc] of centre x, y, width, height in pixels, objectness, scores.

    A face head puts its landmarks, x and y in pixels, behind the box.

    Raises:
        UnsupportedBlockError: boxes in a form that is not known.
    """
    with to.scope(m.key), to.stage(DECODE), to.scope("decode"):
        scores = to.elementwise("Sigmoid", _joined(to, found.classes, "classes"))
        step = to.constant("strides", _per_point(found.boxes, strides)[None, None])
        boxes = _joined(to, found.boxes, "boxes")
        if found.objectness:
            objectness = to.elementwise("Sigmoid", _joined(to, found.objectness, "objectness"))
            parts = [_boxes_of_corner_form(to, found, boxes, step)]
        else:
            objectness = _ones(to, scores)
            parts = _boxes_of_distances(to, m, found, boxes, step)
        rows = to.concat([*parts, objectness, scores], name="columns")
        return to.transpose(rows, [0, 2, 1], name="rows")


def write_masks(to: Builder, m: Module, found: Predictions) -> ir.Value:
    """Mask coefficients [N, L, masks], raw, rows in the order of the boxes."""
    with to.scope(m.key), to.stage(DECODE), to.scope("decode"):
        return to.transpose(_joined(to, found.masks, "masks"), [0, 2, 1], name="mask_rows")


def _boxes_of_corner_form(
    to: Builder, found: Predictions, boxes: ir.Value, step: ir.Value
) -> ir.Value:
    """``(xy + corner) * stride`` and ``exp(wh) * stride``."""
    corners = to.constant("corners", _points(found.boxes, 0.0))
    xy, wh = to.split_channels(boxes, [2, 2])
    whole = [to.elementwise("Add", xy, corners), to.elementwise("Exp", wh)]
    return to.elementwise("Mul", to.concat(whole, name="cells"), step, name="pixels")


def _boxes_of_distances(
    to: Builder, m: Module, found: Predictions, boxes: ir.Value, step: ir.Value
) -> list[ir.Value]:
    points = to.constant("points", _points(found.boxes, 0.5))
    count = channels(boxes)
    if count == 4:
        return [_from_distances(to, boxes, points, step)]
    if count == 4 + LANDMARKS:
        distances, marks = to.split_channels(boxes, [4, LANDMARKS])
        return [_from_distances(to, distances, points, step), _landmarks(to, marks, found, step)]
    return [_from_distances(to, _mean_of_bins(to, m, found, boxes), points, step)]


def _from_distances(to: Builder, distances: ir.Value, points: ir.Value, step: ir.Value) -> ir.Value:
    left_top, right_bottom = to.split_channels(distances, [2, 2])
    low = to.op("Sub", points, left_top, name="low", shape=_shape(left_top))
    high = to.elementwise("Add", right_bottom, points, name="high")
    half = to.constant("half", np.array(0.5, np.float32))
    centre = to.elementwise("Mul", to.elementwise("Add", low, high), half, name="centre")
    whole = to.concat([centre, to.elementwise("Sub", high, low, name="size")], name="cells")
    return to.elementwise("Mul", whole, step, name="pixels")


def _mean_of_bins(to: Builder, m: Module, found: Predictions, boxes: ir.Value) -> ir.Value:
    """Mean of the softmax over the bins of each side: [N, 4 * bins, L] to [N, 4, L]."""
    projection = m.child("proj_conv").array("weight", 4)
    bins, length = projection.shape[1], sum(map(_cells, found.boxes))
    if projection.shape != (1, bins, 1, 1) or channels(boxes) != 4 * bins:
        raise m.unsupported(f"{channels(boxes)} box channels with {bins} bins")
    sides = to.reshape(boxes, [4, bins, length], name="sides")
    by_bin = to.transpose(sides, [0, 2, 1, 3], name="bins")
    share = to.elementwise("Softmax", by_bin, axis=1)
    mean = to.conv(share, projection, name="proj_conv")
    return to.reshape(mean, [4, length], name="distances")


def _landmarks(to: Builder, marks: ir.Value, found: Predictions, step: ir.Value) -> ir.Value:
    points = np.tile(_points(found.boxes, 0.5), (1, LANDMARKS // 2, 1))
    cells = to.elementwise("Add", marks, to.constant("five_points", points))
    return to.elementwise("Mul", cells, step, name="landmarks")


def _ones(to: Builder, scores: ir.Value) -> ir.Value:
    """Objectness 1 for every row, whatever the batch: [N, 1, L]."""
    (row,) = to.split_channels(scores, [1])
    zero = to.constant("zero", np.array(0, np.float32))
    one = to.constant("one", np.array(1, np.float32))
    return to.elementwise("Add", to.elementwise("Mul", row, zero), one, name="objectness")


def _joined(to: Builder, levels: Features, name: str) -> ir.Value:
    """All cells of all levels in one row: [N, C, L]."""
    flat = [to.reshape(x, [channels(x), _cells(x)], name=f"{name}.flat") for x in levels]
    batch, count, _ = _shape(flat[0])
    return to.op("Concat", *flat, name=name, shape=[batch, count, sum(map(_cells, levels))], axis=2)


def _shape(x: ir.Value) -> list[Any]:
    return [] if x.shape is None else list(x.shape)


def _points(levels: Features, offset: float) -> Array:
    """Centres, or corners, x and y of every cell in cells: [1, 2, L]."""
    grids = []
    for x in levels:
        y_of, x_of = np.indices(size_of(x), np.float32)
        grids.append(np.stack([x_of.ravel(), y_of.ravel()]) + np.float32(offset))
    return np.concatenate(grids, axis=1)[None]


def _per_point(levels: Features, strides: Sequence[int]) -> Array:
    return np.repeat(np.array(strides, np.float32), [_cells(x) for x in levels])


def _cells(x: ir.Value) -> int:
    height, width = size_of(x)
    return height * width
