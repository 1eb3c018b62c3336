"""ONNX's own NonMaxSuppression, its list of boxes dealt out to the images."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from detq.detection import BOX, Suppression
from detq.dialects.heads.nodes import Nodes

FLOAT, INT32, INT64, BOOL = (
    ir.DataType.FLOAT, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.BOOL,
)  # fmt: skip
_NOWHERE = -1.0  # score of what is no box of an image


def standard(
    add: Nodes, boxes: ir.Value, scores: ir.Value, options: Suppression
) -> Sequence[ir.Value]:
    """Number, sides, score and class of the best boxes of every image.

    The operator gives the boxes of all images in one list, class by class. Every image gets
    a row of scores over the whole list, without those of other images, and takes its best.

    Args:
        add: collects the nodes.
        boxes: centre and extent [B, L, 4].
        scores: [B, L, classes].
        options: what to keep.
    """
    most, by_class = options.max_detections, add.op("Transpose", scores, perm=[0, 2, 1])
    kept = add.op(
        "NonMaxSuppression",
        boxes,
        by_class,
        add.number("most", [most], np.int64),
        add.number("iou", [options.iou], np.float32),
        add.number("confidence", [options.confidence], np.float32),
        dtype=INT64,
        center_point_box=1,
    )
    image, label, box = (_column(add, kept, n) for n in range(3))
    score = add.op("GatherND", by_class, kept)
    best, index = _best(add, score, image, boxes, most)
    is_box = add.op("Greater", best, add.number("none", 0, np.float32), dtype=BOOL)
    taken = partial(_taken, add, index=index)
    of_box = add.op("Unsqueeze", is_box, add.number("last", [2], np.int64), dtype=BOOL)
    place = add.op("Concat", image, box, dtype=INT64, axis=1)
    sides = taken(_sides(add, add.op("GatherND", boxes, place)), shape=(most, BOX))
    flat = add.op("Squeeze", label, add.number("axis", [1], np.int64), dtype=INT64)
    classes = taken(add.op("Cast", flat, dtype=INT32, to=INT32.value), shape=(most,))
    ones = add.op("Cast", is_box, dtype=INT32, to=INT32.value)
    count = add.op("ReduceSum", ones, add.number("axis", [1], np.int64), dtype=INT32, keepdims=1)
    return (
        count,
        _or_zero(add, of_box, sides),
        _or_zero(add, is_box, best),
        _or_zero(add, is_box, classes),
    )


def _column(add: Nodes, rows: ir.Value, number: int) -> ir.Value:
    """[n, 1] of [n, columns]."""
    column = add.number("column", [number], np.int64)
    return add.op("Gather", rows, column, dtype=rows.dtype or FLOAT, axis=1)


def _best(
    add: Nodes, score: ir.Value, image: ir.Value, boxes: ir.Value, most: int
) -> Sequence[ir.Value]:
    """The best scores of every image [B, most], and where they are in the list."""
    zero, one = add.number("start", [0], np.int64), add.number("end", [1], np.int64)
    images = add.op("Slice", add.op("Shape", boxes, dtype=INT64), zero, one, dtype=INT64)
    numbers = add.op(
        "Range",
        add.number("first", 0, np.int64),
        add.op("Squeeze", images, dtype=INT64),
        add.number("step", 1, np.int64),
        dtype=INT64,
    )
    here = add.op(  # [B, n]
        "Equal",
        add.op("Unsqueeze", numbers, one, dtype=INT64),
        add.op("Reshape", image, add.number("row", [1, -1], np.int64), dtype=INT64),
        dtype=BOOL,
    )
    nowhere = add.number("nowhere", [[_NOWHERE]], np.float32)
    shape = add.op("Concat", images, add.number("most", [most], np.int64), dtype=INT64, axis=0)
    # As many blanks as are asked for, because the list may be shorter.
    row = add.op(
        "Concat", add.op("Where", here, score, nowhere), add.op("Expand", nowhere, shape), axis=1
    )
    outputs = [(FLOAT, None), (INT64, None)]
    return add.many("TopK", [row, add.number("k", [most], np.int64)], outputs, axis=1)


def _taken(add: Nodes, values: ir.Value, *, index: ir.Value, shape: tuple[int, ...]) -> ir.Value:
    """Rows of the list, blanks behind it."""
    dtype = values.dtype or FLOAT
    blanks = add.number("blanks", np.zeros(shape), dtype.numpy())
    longer = add.op("Concat", values, blanks, dtype=dtype, axis=0)
    return add.op("Gather", longer, index, dtype=dtype, axis=0)


def _or_zero(add: Nodes, mask: ir.Value, values: ir.Value) -> ir.Value:
    dtype = values.dtype or FLOAT
    return add.op("Where", mask, values, add.number("blank", 0, dtype.numpy()), dtype=dtype)


def _sides(add: Nodes, boxes: ir.Value) -> ir.Value:
    """Left, top, right, bottom of centre and extent [n, 4]."""
    centre, extent = (
        add.op("Gather", boxes, add.number("columns", columns, np.int64), axis=1)
        for columns in ([0, 1], [2, 3])
    )
    half = add.op("Mul", extent, add.number("half", 0.5, np.float32))
    return add.op("Concat", add.op("Sub", centre, half), add.op("Add", centre, half), axis=1)
