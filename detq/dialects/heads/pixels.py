"""Letterboxed images as OpenCV holds them, instead of prepared planes."""

import numpy as np
import onnx_ir as ir

from detq.detection import Preprocessing
from detq.dialects.heads.nodes import Nodes


def takes_pixels(model: ir.Model, preprocessing: Preprocessing) -> None:
    """Turn the input float32 [B, 3, H, W] into uint8 [B, H, W, 3], blue, green, red.

    What the network sees are the very floats that ``detq.data.letterbox.write_planes`` makes.

    Args:
        model: changed.
        preprocessing: that the network wants.
    """
    graph = model.graph
    planes = graph.inputs[0]
    if planes.shape is None or len(planes.shape) != 4:
        raise AssertionError("a detector takes images")
    batch, channels, height, width = planes.shape
    pixels = ir.Value(
        name=planes.name,
        type=ir.TensorType(ir.DataType.UINT8),
        shape=ir.Shape([batch, height, width, channels]),
    )
    planes.name = f"{planes.name}.planes"
    add = Nodes(graph, "preprocess")
    # TensorRT takes uint8 as an input, and nothing else than a Cast may read it.
    x = add.op("Cast", pixels, to=ir.DataType.FLOAT.value, shape=pixels.shape)
    x = add.op("Transpose", x, perm=[0, 3, 1, 2], shape=planes.shape)
    order = ["BGR".index(channel) for channel in preprocessing.channels]
    if order != [0, 1, 2]:
        x = add.op("Gather", x, add.number("order", order, np.int64), axis=1, shape=planes.shape)
    if preprocessing.scale != 1:
        # Dividing by 255 gives the float nearest to n / 255, multiplying does not always.
        whole = round(1 / preprocessing.scale)
        exact = whole > 1 and 1 / whole == preprocessing.scale
        operator, factor = ("Div", whole) if exact else ("Mul", preprocessing.scale)
        x = add.op(operator, x, add.number("scale", factor, np.float32), shape=planes.shape)
    planes.replace_all_uses_with(x)
    graph.inputs[0] = pixels
    graph.insert_before(graph[0], add.made)
