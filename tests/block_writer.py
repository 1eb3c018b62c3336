"""Blocks of the reparameterized detectors, written with weights drawn from a seed."""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from detq.graph.build import Builder, channels, size_of

EPS = 1e-3


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
