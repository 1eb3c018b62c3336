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
from detq.graph.build import DECODE, Builder, channels, size_of
from detq.model import FloatModel

EPS = 1e-3
SIZE = (16, 16)
STRIDES = (8, 16, 32)


class Writer(Builder):
    """A builder that draws its weights from one generator."""

    def __init__(self, name: str, seed: int) -> None:
        super().__init__(name)
        self.rng = np.random.default_rng(seed)

    def weight(self, *shape: int, fan_in: int | None = None) -> NDArray[np.float32]:
        scale = np.sqrt(2 / (fan_in or np.prod(shape[1:])))
        return (self.rng.standard_normal(shape) * scale).astype(np.float32)

    def vector(self, count: int, low: float, high: float) -> NDArray[np.float32]:
        return self.rng.uniform(low, high, count).astype(np.float32)

    def plain_conv(
        self, x: ir.Value, out: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1,
        groups: int = 1, bias: bool = False, name: str = "conv",
    ) -> ir.Value:  # fmt: skip
        weight = self.weight(out, channels(x) // groups, kernel, kernel)
        pad = dilation * (kernel - 1) // 2
        return self.conv(
            x, weight, self.vector(out, -0.3, 0.3) if bias else None, stride=(stride, stride),
            padding=(pad, pad), dilation=(dilation, dilation), groups=groups, name=name,
        )  # fmt: skip

    def norm(self, x: ir.Value, name: str = "bn") -> ir.Value:
        count = channels(x)
        ranges = ((0.5, 1.5), (-0.5, 0.5), (-0.3, 0.3), (1.0, 4.0))
        return self.batch_norm(
            x, *(self.vector(count, *pair) for pair in ranges), eps=EPS, name=name
        )

    def conv_bn(self, x: ir.Value, out: int, kernel: int = 3, **options: Any) -> ir.Value:
        return self.norm(self.plain_conv(x, out, kernel, **options))

    def scale(self, x: ir.Value, name: str) -> ir.Value:
        vector = self.vector(channels(x), 0.5, 1.5).reshape(1, -1, 1, 1)
        return self.elementwise("Mul", x, self.constant(name, vector))

    def relu(self, x: ir.Value) -> ir.Value:
        return self.elementwise("Relu", x)

    def silu(self, x: ir.Value) -> ir.Value:
        return self.elementwise("Mul", x, self.elementwise("Sigmoid", x))

    def conv_module(
        self, x: ir.Value, out: int, kernel: int = 3, *, name: str, activation: str = "relu",
        **options: Any,
    ) -> ir.Value:  # fmt: skip
        with self.scope(name), self.block("ConvModule"):
            y = self.conv_bn(x, out, kernel, **options)
            return {"relu": self.relu, "silu": self.silu, "hardswish": self.hard_swish}[activation](
                y
            )

    def hard_swish(self, x: ir.Value) -> ir.Value:
        return self.elementwise("HardSwish", x)

    def repvgg(
        self, x: ir.Value, out: int, *, stride: int = 1, groups: int = 1, name: str
    ) -> ir.Value:
        with self.scope(name), self.block("RepVGGBlock"):
            with self.scope("rbr_dense"):
                y = self.conv_bn(x, out, 3, stride=stride, groups=groups)
            with self.scope("rbr_1x1"):
                y = self.elementwise(
                    "Add", y, self.conv_bn(x, out, 1, stride=stride, groups=groups)
                )
            if stride == 1 and out == channels(x):
                y = self.elementwise("Add", y, self.norm(x, "rbr_identity"))
            return self.relu(y)

    def qarepvgg(
        self, x: ir.Value, out: int, *, version: int, stride: int = 1, name: str
    ) -> ir.Value:
        with self.scope(name), self.block("QARepVGGBlock"):
            with self.scope("rbr_dense"):
                y = self.conv_bn(x, out, 3, stride=stride)
            y = self.elementwise(
                "Add", y, self.plain_conv(x, out, 1, stride=stride, name="rbr_1x1")
            )
            if stride == 1 and out == channels(x):
                y = self.elementwise("Add", y, x)
                if version == 2:
                    average = self.pool(
                        "AveragePool", x, (3, 3), stride=(1, 1), padding=(1, 1), name="rbr_avg"
                    )
                    y = self.elementwise("Add", y, average)
            return self.relu(self.norm(y))

    def repopt(self, x: ir.Value, out: int, *, name: str) -> ir.Value:
        with self.scope(name), self.block("LinearAddBlock"):
            branches = [
                self.scale(self.plain_conv(x, out, 3), "scale_conv"),
                self.scale(self.plain_conv(x, out, 1, name="conv_1x1"), "scale_1x1"),
            ]
            if out == channels(x):
                branches.append(self.scale(x, "scale_identity"))
            return self.relu(self.norm(self.elementwise("Sum", *branches)))

    def mobileone(
        self, x: ir.Value, out: int, kernel: int, *, branches: int = 3, groups: int = 1, name: str
    ) -> ir.Value:
        with self.scope(name), self.block("MobileOneBlock"):
            ways = []
            for index in range(branches):
                with self.scope(f"conv_kxk.{index}"):
                    ways.append(self.conv_bn(x, out, kernel, groups=groups))
            if kernel > 1:
                with self.scope("conv_scale"):
                    ways.append(self.conv_bn(x, out, 1, groups=groups))
            if out == channels(x):
                ways.append(self.norm(x, "identity"))
            return self.relu(self.elementwise("Sum", *ways))

    def bottlerep(self, x: ir.Value, *, alpha: float | None, name: str) -> ir.Value:
        with self.scope(name):
            y = self.repvgg(x, channels(x), name="conv1")
            y = self.repvgg(y, channels(x), name="conv2")
            skip = x
            if alpha is not None:
                skip = self.elementwise(
                    "Mul", x, self.constant("alpha", np.array([alpha], np.float32))
                )
            return self.elementwise("Add", y, skip)

    def sppf(self, x: ir.Value, out: int, *, name: str) -> ir.Value:
        with self.scope(name):
            ways = [self.conv_module(x, channels(x) // 2, 1, name="cv1")]
            for _ in range(3):
                ways.append(
                    self.pool("MaxPool", ways[-1], (5, 5), stride=(1, 1), padding=(2, 2), name="m")
                )
            return self.conv_module(self.concat(ways), out, 1, name="cv2")

    def bifusion(self, deep: ir.Value, same: ir.Value, fine: ir.Value, *, name: str) -> ir.Value:
        """``fine`` has twice, ``deep`` half the size of ``same``."""
        out = channels(deep)
        with self.scope(name):
            up = self.conv_transpose(
                deep, self.weight(out, out, 2, 2), self.vector(out, -0.3, 0.3),
                stride=(2, 2), name="upsample.upsample_transpose",
            )  # fmt: skip
            side = self.conv_module(same, out, 1, name="cv1")
            down = self.conv_module(fine, out, 1, name="cv2")
            down = self.conv_module(down, out, 3, stride=2, name="downsample")
            return self.conv_module(self.concat([up, side, down]), out, 1, name="cv3")

    def squeeze_excite(self, x: ir.Value, *, name: str) -> ir.Value:
        with self.scope(name):
            gate = self.global_average_pool(x)
            gate = self.relu(self.plain_conv(gate, channels(x) // 2, 1, bias=True, name="conv1"))
            gate = self.plain_conv(gate, channels(x), 1, bias=True, name="conv2")
            gate = self.elementwise("HardSigmoid", gate, alpha=1 / 6, beta=0.5)
            return self.elementwise("Mul", x, gate)

    def shuffle(self, x: ir.Value, groups: int = 2) -> ir.Value:
        height, width = size_of(x)
        y = self.reshape(x, (groups, channels(x) // groups, height, width))
        y = self.transpose(y, (0, 2, 1, 3, 4))
        return self.reshape(y, (channels(x), height, width))

    def lite(self, x: ir.Value, *, name: str) -> ir.Value:
        with self.scope(name), self.block("Lite_EffiBlock"):
            half = channels(x) // 2
            kept, worked = self.split_channels(x, (half, half))
            with self.scope("conv_pw_1"):
                y = self.hard_swish(self.conv_bn(worked, half, 1))
            with self.scope("conv_dw_1"):
                y = self.conv_bn(y, half, 3, groups=half)
            y = self.squeeze_excite(y, name="se")
            with self.scope("conv_1"):
                y = self.hard_swish(self.conv_bn(y, half, 1))
            return self.shuffle(self.concat([kept, y]))


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
