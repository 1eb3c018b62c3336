"""From raw predictions to rows of box, objectness and scores.

Generation 0.1 does not give distances but the centre relative to the cell's corner and the
logarithm of the size.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from detq.graph.build import DECODE, Builder, channels
from detq.torch_file.module import Module
from detq.torch_layers.boxes import (
    boxes_from_distances,
    certain,
    joined,
    mean_of_bins,
    points_of,
    rows_of,
    stride_of_points,
)
from yolov6_adapter.head import Predictions

LANDMARKS = 10  # five points of a face


def write_decode(to: Builder, m: Module, found: Predictions, strides: Sequence[int]) -> ir.Value:
    """Rows [N, L, 5 + nc] of centre x, y, width, height in pixels, objectness, scores.

    A face head puts its landmarks, x and y in pixels, behind the box.

    Raises:
        UnsupportedBlockError: boxes in a form that is not known.
    """
    with to.scope(m.key), to.stage(DECODE), to.scope("decode"):
        scores = to.elementwise("Sigmoid", joined(to, found.classes, "classes"))
        step = to.constant("strides", stride_of_points(found.boxes, strides))
        boxes = joined(to, found.boxes, "boxes")
        if found.objectness:
            objectness = to.elementwise("Sigmoid", joined(to, found.objectness, "objectness"))
            parts = [_boxes_of_corner_form(to, found, boxes, step)]
        else:
            objectness = certain(to, scores)
            parts = _boxes_of_distances(to, m, found, boxes, step)
        return rows_of(to, [*parts, objectness, scores])


def write_masks(to: Builder, m: Module, found: Predictions) -> ir.Value:
    """Mask coefficients [N, L, masks], raw, rows in the order of the boxes."""
    with to.scope(m.key), to.stage(DECODE), to.scope("decode"):
        return to.transpose(joined(to, found.masks, "masks"), [0, 2, 1], name="mask_rows")


def _boxes_of_corner_form(
    to: Builder, found: Predictions, boxes: ir.Value, step: ir.Value
) -> ir.Value:
    """``(xy + corner) * stride`` and ``exp(wh) * stride``."""
    corners = to.constant("corners", points_of(found.boxes, 0.0))
    xy, wh = to.split_channels(boxes, [2, 2])
    whole = [to.elementwise("Add", xy, corners), to.elementwise("Exp", wh)]
    return to.elementwise("Mul", to.concat(whole, name="cells"), step, name="pixels")


def _boxes_of_distances(
    to: Builder, m: Module, found: Predictions, boxes: ir.Value, step: ir.Value
) -> list[ir.Value]:
    points = to.constant("points", points_of(found.boxes, 0.5))
    count = channels(boxes)
    if count == 4:
        return [boxes_from_distances(to, boxes, points, step)]
    if count == 4 + LANDMARKS:
        distances, marks = to.split_channels(boxes, [4, LANDMARKS])
        found_boxes = boxes_from_distances(to, distances, points, step)
        return [found_boxes, _landmarks(to, marks, found, step)]
    projection = m.child("proj_conv").array("weight", 4)
    return [boxes_from_distances(to, mean_of_bins(to, m, boxes, projection), points, step)]


def _landmarks(to: Builder, marks: ir.Value, found: Predictions, step: ir.Value) -> ir.Value:
    points = np.tile(points_of(found.boxes, 0.5), (1, LANDMARKS // 2, 1))
    cells = to.elementwise("Add", marks, to.constant("five_points", points))
    return to.elementwise("Mul", cells, step, name="landmarks")
