"""Class-wise non-maximum suppression as the last step of a file.

The outputs have the names and forms of YOLOv6's own export with its suppression, see
``detq.detection.SUPPRESSED``; rows behind the boxes found are zero.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from detq.detection import BOX, SUPPRESSED, Detector, Suppression
from detq.dialects.heads.nodes import Dim, Nodes
from detq.dialects.heads.standard import standard
from detq.errors import ModelError

FLOAT, INT32 = ir.DataType.FLOAT, ir.DataType.INT32
PLUGINS = "TRT"  # domain of TensorRT's plugins in ONNX files


def suppress(model: ir.Model, detector: Detector, options: Suppression) -> None:
    """Replace the outputs by what is left of them.

    Args:
        model: of ``detector``; changed.
        detector: the contract of its output.
        options: what to add.

    Raises:
        ModelError: the file does not say how many columns its output has.
    """
    graph = model.graph
    add = Nodes(graph, "suppress")
    boxes, scores = _boxes_and_scores(add, graph.outputs[0], detector)
    if boxes.shape is None:
        raise AssertionError("boxes have a shape")
    batch, most = boxes.shape[0], options.max_detections
    shapes: list[tuple[ir.DataType, Sequence[Dim]]] = [
        (INT32, [batch, 1]),
        (FLOAT, [batch, most, BOX]),
        (FLOAT, [batch, most]),
        (INT32, [batch, most]),
    ]
    if options.by == "efficient":
        found = _efficient(add, boxes, scores, options, shapes)
        graph.opset_imports[PLUGINS] = 1
    else:
        found = standard(add, boxes, scores, options)
    graph.outputs.clear()
    for name, value, (dtype, shape) in zip(SUPPRESSED, found, shapes, strict=True):
        value.name, value.type, value.shape = name, ir.TensorType(dtype), ir.Shape(shape)
        graph.outputs.append(value)
    graph.extend(add.made)


def _boxes_and_scores(
    add: Nodes, output: ir.Value, detector: Detector
) -> tuple[ir.Value, ir.Value]:
    """Centre and extent [B, L, 4], and scores [B, L, classes]."""
    turned = detector.layout == "channels"
    shape = output.shape
    columns = None if shape is None or len(shape) != 3 else shape[1 if turned else 2]
    classes = len(detector.names)
    if shape is None or columns not in (BOX + classes, BOX + 1 + classes):
        raise ModelError(
            f"its output has {columns or 'an unknown number of'} columns, not {BOX + classes} or "
            f"{BOX + 1 + classes}",
            where=str(output.name),
            hint="leave --nms out",
        )
    batch, count = shape[0], shape[2 if turned else 1]
    rows = add.op("Transpose", output, perm=[0, 2, 1]) if turned else output

    def part(start: int, end: int) -> ir.Value:
        ends = (add.number(name, [n], np.int64)
                for name, n in (("start", start), ("end", end), ("axis", 2)))  # fmt: skip
        return add.op("Slice", rows, *ends, shape=(batch, count, end - start))

    objectness = columns == BOX + 1 + classes
    scores = part(BOX + objectness, BOX + objectness + classes)
    if objectness:
        scores = add.op("Mul", scores, part(BOX, BOX + 1), shape=scores.shape)
    return part(0, BOX), scores


def _efficient(
    add: Nodes,
    boxes: ir.Value,
    scores: ir.Value,
    options: Suppression,
    shapes: Sequence[tuple[ir.DataType, Sequence[Dim]]],
) -> Sequence[ir.Value]:
    """TensorRT's plugin, which only TensorRT knows."""
    return add.many(
        "EfficientNMS_TRT",
        [boxes, scores],
        shapes,
        domain=PLUGINS,
        background_class=-1,
        box_coding=1,  # centre and extent
        class_agnostic=0,
        iou_threshold=options.iou,
        max_output_boxes=options.max_detections,
        plugin_version="1",
        score_activation=0,
        score_threshold=options.confidence,
    )
