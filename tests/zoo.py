"""Small networks with seeded weights: every kind of block the product has to treat.

Each network of ``ZOO`` is stem → the block under test → a 1x1 prediction convolution, so
that the block lies inside a network as it does in a detector.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from detq.detection import Detector
from detq.graph.build import DECODE, channels, size_of
from detq.model import FloatModel
from tests.block_writer import Writer

SIZE = (16, 16)
STRIDES = (8, 16, 32)


Body = Callable[[Writer, ir.Value], ir.Value]


def network(
    body: Body, *, seed: int = 0, size: tuple[int, int] = SIZE, width: int = 8, name: str = "net"
) -> FloatModel:
    """Stem → ``body`` → prediction, with any batch size."""
    w = Writer(name, seed)
    x = w.input("images", ["batch", 3, *size])
    with w.stage("backbone"):
        x = w.conv_module(x, width, 3, name="stem")
        x = body(w, x)
    with w.stage("head"):
        x = w.plain_conv(x, 4, 1, bias=True, name="pred")
    detector = Detector(family=name, names=("a",), strides=(1,), size=size)
    return FloatModel(w.finish({"outputs": x}), detector)


def _bifpan(w: Writer, x: ir.Value) -> ir.Value:
    same = w.conv_module(x, 8, 3, stride=2, name="down1")
    deep = w.conv_module(same, 8, 3, stride=2, name="down2")
    return w.bifusion(deep, same, x, name="bifusion")


def _two_bottlereps(w: Writer, x: ir.Value) -> ir.Value:
    x = w.bottlerep(x, alpha=0.7, name="block0")
    return w.bottlerep(x, alpha=-0.2, name="block1")


def _mobileone(w: Writer, x: ir.Value) -> ir.Value:
    x = w.mobileone(x, 8, 3, groups=8, name="depthwise")
    return w.mobileone(x, 12, 1, name="pointwise")


def _resnet(w: Writer, x: ir.Value) -> ir.Value:
    return w.relu(w.bottlerep(x, alpha=None, name="block"))


def _upsample(w: Writer, x: ir.Value) -> ir.Value:
    deep = w.conv_module(x, 8, 3, stride=2, name="down")
    joined = w.concat([w.resize_nearest(deep, 2), x])
    return w.conv_module(joined, 8, 3, name="after")


def _silu_tail(w: Writer, x: ir.Value) -> ir.Value:
    x = w.conv_module(x, 8, 1, name="head_stem", activation="silu")
    return w.conv_module(x, 8, 3, name="cls_conv", activation="silu")


BODIES: Mapping[str, Body] = {
    "conv_bn": lambda w, x: w.conv_module(x, 12, 3, stride=2, name="block"),
    "repvgg": lambda w, x: w.repvgg(x, 8, name="block"),
    "repvgg_stride2": lambda w, x: w.repvgg(x, 12, stride=2, name="block"),
    "repvgg_grouped": lambda w, x: w.repvgg(x, 8, groups=4, name="block"),
    "qarepvgg_v1": lambda w, x: w.qarepvgg(x, 8, version=1, name="block"),
    "qarepvgg_v2": lambda w, x: w.qarepvgg(x, 8, version=2, name="block"),
    "qarepvgg_v2_stride2": lambda w, x: w.qarepvgg(x, 12, version=2, stride=2, name="block"),
    "repopt": lambda w, x: w.repopt(x, 8, name="block"),
    "mobileone": _mobileone,
    "bottlerep_alpha": _two_bottlereps,
    "residual": _resnet,
    "sppf": lambda w, x: w.sppf(x, 8, name="sppf"),
    "bifpan": _bifpan,
    "upsample": _upsample,
    "lite": lambda w, x: w.lite(x, name="lite"),
    "silu": _silu_tail,
}  # fmt: skip


def tiny_detector(
    seed: int = 0, size: tuple[int, int] = (64, 64), names: Sequence[str] = ("a", "b", "c")
) -> FloatModel:
    """A whole detector of three levels in 280 kB: ``images`` → ``outputs`` [B, L, 5 + nc].

    RepVGG backbone with SPPF, BiFPAN neck, decoupled SiLU head, decoded boxes in pixels.

    Args:
        seed: of the weights.
        size: height and width, multiples of 32.
        names: class names.
    """
    w = Writer("tiny_detector", seed)
    x = w.input("images", ["batch", 3, *size])
    with w.stage("backbone"), w.scope("backbone"):
        features = _backbone(w, x)
    with w.stage("neck"), w.scope("neck"):
        levels = _neck(w, features)
    with w.stage("head"), w.scope("detect"):
        raw = [_predictions(w, level, i, len(names)) for i, level in enumerate(levels)]
    with w.stage(DECODE), w.scope("decode"):
        outputs = _decode(w, raw)
    detector = Detector(family="tiny", names=tuple(names), strides=STRIDES, size=size)
    return FloatModel(w.finish({"outputs": outputs}), detector)


def _backbone(w: Writer, x: ir.Value) -> list[ir.Value]:
    x = w.repvgg(x, 8, stride=2, name="stem")
    found = []
    for number, width in ((2, 8), (3, 12), (4, 16), (5, 24)):
        with w.scope(f"ERBlock_{number}"):
            x = w.repvgg(x, width, stride=2, name="0")
            x = w.repvgg(x, width, name="1")
            if number == 5:
                x = w.sppf(x, width, name="2")
        found.append(x)
    return found


def _neck(w: Writer, features: Sequence[ir.Value]) -> list[ir.Value]:
    c2, c3, c4, c5 = features
    p5 = w.conv_module(c5, 12, 1, name="reduce_layer0")
    p4 = w.repvgg(w.bifusion(p5, c4, c3, name="Bifusion0"), 12, name="Rep_p4")
    p4 = w.conv_module(p4, 8, 1, name="reduce_layer1")
    n3 = w.repvgg(w.bifusion(p4, c3, c2, name="Bifusion1"), 8, name="Rep_p3")
    n4 = w.concat([w.conv_module(n3, 8, 3, stride=2, name="downsample2"), p4])
    n4 = w.repvgg(n4, 12, name="Rep_n3")
    n5 = w.concat([w.conv_module(n4, 12, 3, stride=2, name="downsample1"), p5])
    return [n3, n4, w.repvgg(n5, 16, name="Rep_n4")]


def _predictions(w: Writer, x: ir.Value, level: int, classes: int) -> tuple[ir.Value, ir.Value]:
    """Distances [B, 4, h, w] in cells, class logits [B, nc, h, w]."""
    width = channels(x)
    x = w.conv_module(x, width, 1, name=f"stems.{level}", activation="silu")
    found = []
    for kind, out, centre, gain in (("reg", 4, 1.5, 1), ("cls", classes, -2.0, 8)):
        y = w.conv_module(x, width, 3, name=f"{kind}_convs.{level}", activation="silu")
        bias = (w.vector(out, -0.3, 0.3) + centre).astype(np.float32)
        weight = w.weight(out, width, 1, 1) * np.float32(gain)
        found.append(w.conv(y, weight, bias, name=f"{kind}_preds.{level}"))
    return found[0], found[1]


def _decode(w: Writer, raw: Sequence[tuple[ir.Value, ir.Value]]) -> ir.Value:
    sizes = [size_of(boxes) for boxes, _ in raw]
    total = sum(height * width for height, width in sizes)
    distances = _rows(w, [boxes for boxes, _ in raw], total)
    scores = w.elementwise("Sigmoid", _rows(w, [logits for _, logits in raw], total))
    points, strides = _cells(sizes)
    left_top, right_bottom = _columns(w, distances, 0, 2), _columns(w, distances, 2, 4)
    anchors, stride = w.constant("points", points), w.constant("strides", strides)
    half = w.constant("half", np.array(0.5, np.float32))
    low = w.op("Sub", anchors, left_top, shape=_dims(left_top))
    high = w.elementwise("Add", right_bottom, anchors)
    extent = w.elementwise("Sub", high, low)
    centre = w.elementwise("Mul", w.elementwise("Add", high, low), half)
    certain = w.constant("one", np.array(1, np.float32))
    objectness = w.elementwise("Clip", _columns(w, scores, 0, 1), certain, certain)
    boxes = [w.elementwise("Mul", part, stride) for part in (centre, extent)]
    count = 5 + _dims(scores)[2]
    return w.op(
        "Concat", *boxes, objectness, scores, name="concat",
        shape=(_dims(scores)[0], total, count), axis=2,
    )  # fmt: skip


def _rows(w: Writer, levels: Sequence[ir.Value], total: int) -> ir.Value:
    """[B, C, h, w] of each level to [B, L, C]."""
    flat = [w.reshape(x, (channels(x), -1)) for x in levels]
    joined = w.op(
        "Concat", *flat, shape=(_dims(flat[0])[0], channels(levels[0]), total), axis=2
    )  # fmt: skip
    return w.transpose(joined, (0, 2, 1))


def _columns(w: Writer, x: ir.Value, start: int, end: int) -> ir.Value:
    batch, rows, _ = _dims(x)
    parts = (("starts", start), ("ends", end), ("axes", 2))
    return w.op(
        "Slice", x, *(w.constant(key, np.array([n], np.int64)) for key, n in parts),
        shape=(batch, rows, end - start),
    )  # fmt: skip


def _cells(sizes: Sequence[tuple[int, int]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centres [L, 2] as x, y in cells and strides [L, 1] in pixels."""
    points, strides = [], []
    for (height, width), stride in zip(sizes, STRIDES, strict=True):
        rows, columns = np.mgrid[:height, :width] + 0.5
        points.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((height * width, 1), stride))
    return np.concatenate(points).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _dims(value: ir.Value) -> list[Any]:
    assert value.shape is not None
    return [n if isinstance(n, int) else str(n.value) for n in value.shape]


ZOO: Mapping[str, Callable[[], FloatModel]] = {
    **{name: partial(network, body, name=name) for name, body in BODIES.items()},
    "tiny_detector": tiny_detector,
}
