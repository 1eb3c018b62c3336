"""The head: predictions of every level, and rows of boxes made of them."""

from collections.abc import Sequence

import onnx_ir as ir

from detq.graph.build import DECODE, Builder, channels
from detq.torch_file.module import Module
from detq.torch_layers.boxes import (
    boxes_from_distances,
    certain,
    check_level,
    joined,
    mean_of_bins,
    points_of,
    rows_of,
    stride_of_points,
)
from detq.torch_layers.writer import Writer, check_all_written

HEAD = "Detect"
Levels = tuple[ir.Value, ...]


def write_head(
    write: Writer,
    m: Module,
    features: Sequence[ir.Value],
    strides: Sequence[int],
    size: tuple[int, int],
) -> ir.Value:
    """Rows [N, L, 5 + nc] of centre x, y, width, height in pixels, objectness 1, scores.

    Raises:
        UnsupportedBlockError: it is another head.
        CheckpointError: it does not fit the features.
    """
    if m.name != HEAD:
        raise m.unsupported(f"only {HEAD} is read")
    if other := [name for name in m.children if name not in ("cv2", "cv3", "dfl")]:
        raise m.unsupported(f"it also holds {other[0]}")
    if {len(m.child(name).children) for name in ("cv2", "cv3")} != {len(features)}:
        raise m.damaged(f"its levels are not those of {len(features)} features")
    if len(strides) != len(features):
        raise m.damaged(f"{len(strides)} strides for {len(features)} levels")
    with write.to.scope(m.path):
        boxes = _predictions(write, m, "cv2", features)
        scores = _predictions(write, m, "cv3", features)
        for level, stride in zip([*boxes, *scores], [*strides, *strides], strict=True):
            check_level(m, level, stride, size)
        with write.to.stage(DECODE), write.to.scope("decode"):
            return _decode(write.to, m, boxes, scores, strides)


def _predictions(write: Writer, m: Module, name: str, features: Sequence[ir.Value]) -> Levels:
    found = []
    with write.to.scope(name):
        for i, feature in enumerate(features):
            with write.to.stage(f"{m.path}.level_{i}"):
                found.append(write.apply(m.child(name).child(str(i)), feature))
    check_all_written(write, m.child(name))
    wanted = m.integer("nc", 1) if name == "cv3" else 4 * m.integer("reg_max", 1)
    if {channels(x) for x in found} != {wanted}:
        raise m.damaged(f"{channels(found[0])} channels of {name}, not {wanted}")
    return tuple(found)


def _decode(
    to: Builder, m: Module, boxes: Levels, scores: Levels, strides: Sequence[int]
) -> ir.Value:
    classes = to.elementwise("Sigmoid", joined(to, scores, "classes"))
    step = to.constant("strides", stride_of_points(boxes, strides))
    points = to.constant("points", points_of(boxes, 0.5))
    distances = joined(to, boxes, "boxes")
    if m.integer("reg_max") > 1:
        projection = m.child("dfl").child("conv").array("weight", 4)
        distances = mean_of_bins(to, m, distances, projection)
    found = boxes_from_distances(to, distances, points, step)
    return rows_of(to, [found, certain(to, classes), classes])
