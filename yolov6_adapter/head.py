"""The head: predictions of every level. What is made of them is in ``decode``."""

from dataclasses import dataclass

import onnx_ir as ir

from detq.errors import UnsupportedBlockError
from detq.graph.build import channels
from detq.torch_file.module import Module
from detq.torch_layers.boxes import check_level
from detq.torch_layers.writer import Writer, check_all_written
from yolov6_adapter.backbone import Features

HEADS = frozenset(
    {
        "yolov6.models.effidehead.Detect",
        "yolov6.models.heads.effidehead_fuseab.Detect",
        "yolov6.models.heads.effidehead_distill_ns.Detect",
        "yolov6.models.heads.effidehead_lite.Detect",
        "yolov6.models.heads.effidehead_fuseab_seg.Detect",
    }
)
# The predictions that count at inference come first; the others were for training.
BOXES = ("reg_preds_af", "reg_preds_lrtb", "reg_preds")
# Layers that may be left out: they teach in the training, or DFL is off.
LEFT_OUT = frozenset(
    {
        "cls_preds_ab",
        "reg_preds_ab",
        "seg_preds_ab",
        "reg_preds_dist",
        "reg_preds",
        "proj_conv",
    }
)
CLASSES = ("cls_preds_af", "cls_preds")


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the last convolutions of the levels give, finest level first.

    Attributes:
        classes: [N, classes, h, w] each.
        boxes: [N, 4, h, w], more with bins or landmarks.
        objectness: [N, 1, h, w] of generation 0.1, else empty.
        masks: [N, masks, h, w] of segmentation, else empty.
    """

    classes: Features
    boxes: Features
    objectness: Features
    masks: Features


def write_head(write: Writer, m: Module, features: Features) -> Predictions:
    """Predictions of all levels; the parts made for training are left out.

    Raises:
        UnsupportedBlockError: there is no builder for its class.
        CheckpointError: it does not fit the features.
    """
    if m.kind not in HEADS:
        raise UnsupportedBlockError(f"there is no builder for {m.kind}", where=m.path)
    if len(m.child("stems").children) != len(features):
        raise m.damaged(f"{len(m.child('stems').children)} levels for {len(features)} features")
    levels = []
    with write.to.scope(m.key):
        for i, feature in enumerate(features):
            with write.to.stage(f"{m.path}.level_{i}"):
                levels.append(_level(write, m, i, feature))
    for name, part in m.children.items():
        if name not in LEFT_OUT | {"seg_proto"}:
            check_all_written(write, part)
    classes, boxes, objectness, masks = zip(*levels, strict=True)
    return Predictions(
        classes,
        boxes,
        tuple(x for x in objectness if x is not None),
        tuple(x for x in masks if x is not None),
    )


def check_strides(
    m: Module, found: Predictions, strides: tuple[int, ...], size: tuple[int, int]
) -> None:
    """Every level has the resolution that its stride says."""
    for levels in (found.classes, found.boxes, found.objectness, found.masks):
        for level, stride in zip(levels, strides, strict=False):  # the last two may be empty
            check_level(m, level, stride, size)
    if len(found.classes) != len(strides):
        raise m.damaged(f"{len(strides)} strides for {len(found.classes)} levels")


def _level(
    write: Writer, m: Module, i: int, x: ir.Value
) -> tuple[ir.Value, ir.Value, ir.Value | None, ir.Value | None]:
    x = _item(write, m, "stems", i, x)
    of_class = _item(write, m, "cls_convs", i, x)
    of_box = _item(write, m, "reg_convs", i, x)
    classes = _item(write, m, _first(m, CLASSES), i, of_class)
    boxes = _item(write, m, _first(m, BOXES), i, of_box)
    objectness = _item(write, m, "obj_preds", i, of_box) if "obj_preds" in m.children else None
    masks = None
    if "seg_preds" in m.children:
        masks = _item(write, m, "seg_preds", i, _item(write, m, "seg_convs", i, x))
    if channels(classes) != m.integer("nc", 1):
        raise m.damaged(f"{channels(classes)} scores for {m.integer('nc')} classes")
    return classes, boxes, objectness, masks


def _first(m: Module, names: tuple[str, ...]) -> str:
    return next((name for name in names if name in m.children), names[-1])


def _item(write: Writer, m: Module, name: str, i: int, x: ir.Value) -> ir.Value:
    with write.to.scope(name):
        return write.apply(m.child(name).child(str(i)), x)
