"""Q/DQ graphs of a few nodes, as the tools write them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from detq.graph.build import Builder

CHANNELS = 16


class Sketch(Builder):
    """A builder with the steps of a quantized network; [1, 16, 8, 8] unless said otherwise."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__("sketch")
        self.images = self.input("images", (1, channels, 8, 8))

    def pair(
        self,
        x: ir.Value,
        scale: Any = 0.1,
        *,
        zero: int | None = 0,
        dtype: type = np.int8,
        axis: int | None = None,
        name: str = "x",
    ) -> ir.Value:
        """Q and DQ with a scale of its own; ``zero`` None leaves the zero point out."""
        step = scale if isinstance(scale, ir.Value) else np.asarray(scale, np.float32)
        if isinstance(scale, np.ndarray):
            step = scale
        if isinstance(step, np.ndarray):
            step = self.constant(f"{name}.scale", step)
        shape = () if step.const_value is None else step.const_value.numpy().shape
        point = None if zero is None else np.full(shape, zero, dtype)
        point = None if point is None else self.constant(f"{name}.zero_point", point)
        q = self.op("QuantizeLinear", x, step, point, name=f"{name}.q", shape=x.shape, axis=axis)
        q.dtype = ir.DataType.from_numpy(np.dtype(dtype))
        return self.op(
            "DequantizeLinear", q, step, point, name=f"{name}.dq", shape=x.shape, axis=axis
        )

    def weights(
        self,
        shape: Sequence[int],
        *,
        axis: int | None = 0,
        count: int | None = None,
        stored: bool = True,
        largest: int = 127,
        name: str,
    ) -> ir.Value:
        """Integers, or floats and Q, in front of DQ."""
        codes = np.random.default_rng(0).integers(-largest, largest, shape, endpoint=True)
        codes.reshape(-1)[0] = largest
        size = shape[axis or 0] if count is None else count
        scale = np.full((size,) if size > 1 else (), 0.01, np.float32)
        step = self.constant(f"{name}.weight.scale", scale)
        zero = self.constant(f"{name}.weight.zero_point", np.zeros(scale.shape, np.int8))
        x = self.constant(f"{name}.weight", codes.astype(np.int8 if stored else np.float32))
        if not stored:
            x = self.op("QuantizeLinear", x, step, zero, name=f"{name}.weight.q", axis=axis)
        return self.op("DequantizeLinear", x, step, zero, name=f"{name}.weight.dq", axis=axis)

    def layer(
        self,
        x: ir.Value,
        name: str = "conv",
        *,
        quantized: bool = True,
        bias: ir.Value | None = None,
        inputs: int = CHANNELS,
        outputs: int = CHANNELS,
        group: int = 1,
        size: int = 1,
        kind: str = "Conv",
        **weights: Any,
    ) -> ir.Value:
        """A convolution with INT8 or float weights."""
        shape = (outputs, inputs // group, size, size)
        if quantized:
            weight = self.weights(shape, name=name, **weights)
        else:
            weight = self.constant(f"{name}.weight", np.ones(shape, np.float32))
        pad = [size // 2] * 4
        height = x.shape[2] if x.shape is not None else 8
        return self.op(
            kind, x, weight, bias, name=name, shape=(1, outputs, height, height),
            group=group, pads=pad,
        )  # fmt: skip

    def relu(self, x: ir.Value, name: str = "relu") -> ir.Value:
        return self.elementwise("Relu", x, name=name)

    def done(self, *outputs: ir.Value, opset: int = 17) -> ir.Model:
        """The model, with a float prediction layer behind the first output."""
        wide = outputs[0].shape
        assert wide is not None
        last = self.layer(outputs[0], "pred", quantized=False, inputs=int(wide[1]))
        others = {f"out{i}": self.elementwise("Relu", x) for i, x in enumerate(outputs[1:])}
        return self.raw({"outputs": last, **others}, opset)

    def raw(self, outputs: dict[str, ir.Value], opset: int = 17) -> ir.Model:
        model = self.finish(outputs)
        model.graph.opset_imports[""] = opset
        return model
