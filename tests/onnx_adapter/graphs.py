"""Small detectors written node by node, in the forms of several opsets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
CLASSES = 3


class Net:
    """Collects nodes; every method returns the name of what it makes."""

    def __init__(self, opset: int = 17, *, named: bool = True) -> None:
        self.opset = opset
        self.rng = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []
        self._named = named
        self._scope: list[str] = []

    def op(self, kind: str, *inputs: str, outputs: int = 1, at: str = "", **attributes: Any) -> Any:
        made = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        name = f"/{at}/{kind}" if at and self._named else ""
        if any(node.name == name for node in self.nodes if name):
            name += f"_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, made, name=name, **attributes))
        return made[0] if outputs == 1 else made

    def store(self, array: Array | Sequence[float], name: str = "") -> str:
        full = name or f"c{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.asarray(array), full))
        return full

    def ints(self, *numbers: int) -> str:
        return self.store(np.array(numbers, np.int64))

    def number(self, value: float) -> str:
        return self.store(np.array(value, np.float32))

    def weight(self, *shape: int, name: str = "") -> str:
        scale = 1 / np.sqrt(max(int(np.prod(shape[1:])), 1))
        return self.store((self.rng.standard_normal(shape) * scale).astype(np.float32), name)

    def conv(
        self, x: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, at: str = ""
    ) -> str:
        name = f"{at}.weight" if at and self._named else ""
        path = at.replace(".", "/")
        weight = self.weight(outputs, inputs, kernel, kernel, name=name)
        pads, strides = [kernel // 2] * 4, [stride, stride]
        made: str = self.op("Conv", x, weight, at=path, pads=pads, strides=strides)
        return made

    def norm(self, x: str, count: int, at: str = "") -> str:
        parts = (1 + 0.1 * self.rng.random((4, count))).astype(np.float32)
        names = [self.store(part) for part in parts]
        made: str = self.op("BatchNormalization", x, *names, at=at.replace(".", "/"), epsilon=1e-3)
        return made

    def silu(self, x: str) -> str:
        return str(self.op("Mul", x, self.op("Sigmoid", x)))

    def repvgg(self, x: str, inputs: int, outputs: int, stride: int = 1, at: str = "") -> str:
        wide = self.norm(self.conv(x, inputs, outputs, 3, stride, f"{at}.dense"), outputs)
        narrow = self.norm(self.conv(x, inputs, outputs, 1, stride, f"{at}.narrow"), outputs)
        total = self.op("Add", wide, narrow, at=at)
        if inputs == outputs and stride == 1:
            total = self.op("Add", total, self.norm(x, inputs), at=at)
        return str(self.op("Relu", total, at=at))

    # The same in every opset.

    def split(self, x: str, parts: int, axis: int, size: int) -> list[str]:
        sizes = [size // parts] * parts
        if self.opset < 13:
            return list(self.op("Split", x, outputs=parts, axis=axis, split=sizes))
        if self.opset < 18:
            return list(self.op("Split", x, self.ints(*sizes), outputs=parts, axis=axis))
        return list(self.op("Split", x, outputs=parts, axis=axis, num_outputs=parts))

    def unsqueeze(self, x: str, axis: int) -> str:
        if self.opset < 13:
            return str(self.op("Unsqueeze", x, axes=[axis]))
        return str(self.op("Unsqueeze", x, self.ints(axis)))

    def mean(self, x: str, axes: Sequence[int]) -> str:
        if self.opset < 18:
            return str(self.op("ReduceMean", x, axes=list(axes)))
        return str(self.op("ReduceMean", x, self.ints(*axes)))

    def upsample(self, x: str) -> str:
        empty = self.store(np.zeros(0, np.float32)) if self.opset < 13 else ""
        factors = self.store(np.array([1, 1, 2, 2], np.float32))
        new = {"antialias": 0} if self.opset >= 18 else {}
        return str(
            self.op("Resize", x, empty, factors, mode="nearest", nearest_mode="floor",
                    coordinate_transformation_mode="asymmetric", **new)
        )  # fmt: skip

    def hard_swish(self, x: str) -> str:
        inner = self.op("Add", x, self.number(3))
        gate = self.op("Clip", inner, self.number(0), self.number(6))
        return str(self.op("Div", self.op("Mul", x, gate), self.number(6)))

    def finish(
        self,
        images: Sequence[int | str],
        *outputs: str,
        metadata: dict[str, str] | None = None,
    ) -> onnx.ModelProto:
        for i, name in enumerate(outputs):
            self.nodes.append(helper.make_node("Identity", [name], [f"output{i}"]))
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, images)],
            [
                helper.make_tensor_value_info(f"output{i}", TensorProto.FLOAT, ["B", "L", "C"])
                for i in range(len(outputs))
            ],
            self.stored,
        )  # fmt: skip
        imports = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=imports)
        model.ir_version = helper.find_min_ir_version_for(imports)
        for key, value in (metadata or {}).items():
            model.metadata_props.add(key=key, value=value)
        return model


def points(net: Net, feature: str, stride: int) -> str:
    """Centres of the cells in pixels [1, 2, h * w], computed from the feature's own shape."""
    shape = net.op("Shape", feature)
    grids = []
    for axis in (2, 3):
        count = net.op("Gather", shape, net.store(np.array(axis, np.int64)), axis=0)
        zero, one = net.store(np.array(0, np.int64)), net.store(np.array(1, np.int64))
        line = net.op("Cast", net.op("Range", zero, count, one), to=TensorProto.FLOAT)
        grids.append(net.op("Mul", net.op("Add", line, net.number(0.5)), net.number(stride)))
    height, width = (net.op("Gather", shape, net.ints(axis), axis=0) for axis in (2, 3))
    whole = net.op("Concat", height, width, axis=0)
    rows = net.op("Expand", net.unsqueeze(grids[0], 1), whole)
    columns = net.op("Expand", net.unsqueeze(grids[1], 0), whole)
    flat = [net.op("Reshape", x, net.ints(1, 1, -1)) for x in (columns, rows)]
    return str(net.op("Concat", *flat, axis=1))


def flat(net: Net, x: str, count: int) -> str:
    """[N, C, h * w], with the batch taken from the tensor as torch writes it."""
    shape = net.op("Shape", x)
    batch = net.op("Gather", shape, net.store(np.array(0, np.int64)), axis=0)
    whole = net.op("Concat", net.unsqueeze(batch, 0), net.ints(count), net.ints(-1), axis=0)
    return str(net.op("Reshape", x, whole))


def level(net: Net, x: str, width: int, stride: int, at: str) -> tuple[str, str]:
    """Boxes [N, 4, L] in pixels and scores [N, classes, L] of one level."""
    boxes = net.silu(net.conv(x, width, width, 3, at=f"{at}.reg"))
    boxes = flat(net, net.conv(boxes, width, 4, 1, at=f"{at}.reg_pred"), 4)
    scores = net.silu(net.conv(x, width, width, 3, at=f"{at}.cls"))
    scores = flat(net, net.conv(scores, width, CLASSES, 1, at=f"{at}.cls_pred"), CLASSES)
    near, far = net.split(boxes, 2, 1, 4)
    low = net.op("Sub", points(net, x, stride), near)
    high = net.op("Add", points(net, x, stride), far)
    centre = net.op("Mul", net.op("Add", low, high), net.number(0.5))
    box = net.op("Concat", centre, net.op("Sub", high, low), axis=1)
    return str(box), str(net.op("Sigmoid", scores))


def detector(
    opset: int = 17,
    *,
    batch: int | str = "N",
    size: Sequence[int | str] = (32, 32),
    channels: bool = False,
    named: bool = True,
    metadata: dict[str, str] | None = None,
) -> onnx.ModelProto:
    """Strides 4 and 8: RepVGG blocks, a gate, a residual, an upsampling, two levels."""
    net = Net(opset, named=named)
    x = net.repvgg("images", 3, 8, 2, at="stem")
    x = net.repvgg(x, 8, 8, 2, at="stage.0")
    x = fine = net.repvgg(x, 8, 8, at="stage.1")
    x = net.hard_swish(net.conv(x, 8, 16, 3, 2, at="down"))
    gate = net.conv(net.mean(x, [2, 3]), 16, 16, 1, at="gate.expand")
    x = net.op("Mul", x, net.op("Sigmoid", gate))
    inner = net.silu(net.conv(x, 16, 16, 3, at="residual.a"))
    coarse = x = net.op("Add", x, net.conv(inner, 16, 16, 3, at="residual.b"))
    lateral = net.op("Relu", net.conv(fine, 8, 8, 1, at="lateral"))
    top = net.upsample(net.op("Relu", net.conv(x, 16, 8, 1, at="reduce")))
    joined = net.op("Concat", lateral, top, axis=1)
    fine = net.op("Relu", net.conv(joined, 16, 8, 3, at="fuse"))
    levels = [level(net, fine, 8, 4, "head.0"), level(net, coarse, 16, 8, "head.1")]
    boxes = net.op("Concat", *(box for box, _ in levels), axis=2)
    scores = net.op("Concat", *(score for _, score in levels), axis=2)
    parts = [boxes, scores]
    if not channels:
        some = net.split(scores, CLASSES, 1, CLASSES)[0]
        zero = net.op("Mul", some, net.number(0))
        parts.insert(1, net.op("Add", zero, net.number(1)))
    output = net.op("Concat", *parts, axis=1)
    if not channels:
        output = net.op("Transpose", output, perm=[0, 2, 1])
    return net.finish([batch, 3, *size], output, metadata=metadata)
