"""Write a graph as expressions; names come from the place in the network.

A node, its output value and its weights are named after the module path in force:
``backbone.stem.conv``, ``backbone.stem.conv.weight``. Spatial shapes are followed on the
way, because reshapes in a head need them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

OPSET = 17
IR_VERSION = 8

BLOCK = "detq.block"
KIND = "detq.kind"
STAGE = "detq.stage"
CALLED = "detq.called"  # on a value, in memory only: its name in the file it was read from
DECODE = "decode"  # the stage after the prediction convolutions

Array = NDArray[Any]
Pair = tuple[int, int]


class Builder:
    """Collects nodes in order; ``finish`` makes the model.

    Args:
        name: graph name, for viewers.
    """

    def __init__(self, name: str) -> None:
        self._graph_name = name
        self._nodes: list[ir.Node] = []
        self._inputs: list[ir.Value] = []
        self._initializers: dict[str, ir.Value] = {}
        self._taken: set[str] = set()
        self._path: tuple[str, ...] = ()
        self._marks: dict[str, str] = {}

    @property
    def path(self) -> str:
        """The module path in force."""
        return ".".join(self._path)

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names inside begin with ``name`` (one or more parts joined by dots)."""
        before = self._path
        self._path = (*before, name)
        try:
            yield
        finally:
            self._path = before

    @contextmanager
    def block(self, kind: str) -> Iterator[None]:
        """Nodes inside belong to one block at the current path; the outermost wins."""
        with self._mark({BLOCK: self.path, KIND: kind} if BLOCK not in self._marks else {}):
            yield

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Nodes inside belong to the stage ``name``; the outermost wins."""
        with self._mark({STAGE: name} if STAGE not in self._marks else {}):
            yield

    @contextmanager
    def _mark(self, marks: Mapping[str, str]) -> Iterator[None]:
        before = self._marks
        self._marks = {**before, **marks}
        try:
            yield
        finally:
            self._marks = before

    def input(self, name: str, shape: Sequence[int | str]) -> ir.Value:
        """A float32 graph input; a string is a dimension that may vary."""
        value = ir.Value(
            name=self._unique(name), shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT)
        )
        self._inputs.append(value)
        return value

    def constant(self, name: str, array: Array) -> ir.Value:
        """An initializer named after the place; the array is kept as it is."""
        full = self._unique(self._here(name))
        value = ir.Value(
            name=full,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
            const_value=ir.tensor(array, name=full),
        )
        self._initializers[full] = value
        return value

    def op(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        name: str = "",
        shape: Sequence[int | str | None] | None = None,
        **attributes: Any,
    ) -> ir.Value:
        """One node with one output, which carries the node's name.

        Args:
            op_type: ONNX operator of the default domain.
            inputs: values; None leaves an optional one out.
            name: last part of the name; the operator in lower case if empty.
            shape: of the output, where the caller knows it.
            attributes: as ONNX names them; None is left out.
        """
        full = self._unique(self._here(name or op_type.lower()))
        output = ir.Value(name=full, type=ir.TensorType(ir.DataType.FLOAT))
        if shape is not None:
            output.shape = ir.Shape(shape)
        given = {key: value for key, value in attributes.items() if value is not None}
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        self._nodes.append(
            ir.Node(
                "",
                op_type,
                inputs,
                ir.convenience.convert_attributes(given),
                outputs=[output],
                name=full,
                metadata_props=dict(self._marks),
            )
        )
        return output

    # The operators whose output shape a network's author needs to know.

    def conv(
        self,
        x: ir.Value,
        weight: Array,
        bias: Array | None = None,
        *,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
        name: str = "conv",
    ) -> ir.Value:
        """Convolution; ``weight`` is [out, in / groups, kh, kw], padding is symmetric."""
        kernel = weight.shape[2:]
        size = tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(_size(x), padding, dilation, kernel, stride, strict=True)
        )
        return self.op(
            "Conv",
            x,
            self.constant(f"{name}.weight", weight),
            None if bias is None else self.constant(f"{name}.bias", bias),
            name=name,
            shape=(_batch(x), weight.shape[0], *size),
            kernel_shape=list(kernel),
            strides=list(stride),
            pads=[*padding, *padding],
            dilations=list(dilation),
            group=groups,
        )

    def conv_transpose(
        self,
        x: ir.Value,
        weight: Array,
        bias: Array | None = None,
        *,
        stride: Pair,
        padding: Pair = (0, 0),
        name: str = "conv_transpose",
    ) -> ir.Value:
        """Transposed convolution; ``weight`` is [in, out, kh, kw]."""
        kernel = weight.shape[2:]
        size = tuple(
            (n - 1) * s - 2 * p + k
            for n, p, k, s in zip(_size(x), padding, kernel, stride, strict=True)
        )
        return self.op(
            "ConvTranspose",
            x,
            self.constant(f"{name}.weight", weight),
            None if bias is None else self.constant(f"{name}.bias", bias),
            name=name,
            shape=(_batch(x), weight.shape[1], *size),
            kernel_shape=list(kernel),
            strides=list(stride),
            pads=[*padding, *padding],
        )

    def batch_norm(
        self,
        x: ir.Value,
        gain: Array,
        shift: Array,
        mean: Array,
        variance: Array,
        *,
        eps: float,
        name: str = "bn",
    ) -> ir.Value:
        """Normalization with stored statistics, each [channels]."""
        named = (("weight", gain), ("bias", shift), ("mean", mean), ("variance", variance))
        return self.op(
            "BatchNormalization",
            x,
            *(self.constant(f"{name}.{part}", array) for part, array in named),
            name=name,
            shape=_dims(x),
            epsilon=eps,
        )

    def pool(
        self, kind: str, x: ir.Value, kernel: Pair, *, stride: Pair, padding: Pair, name: str = ""
    ) -> ir.Value:
        """``MaxPool``, or ``AveragePool`` that counts its zero padding as torch does."""
        size = tuple(
            (n + 2 * p - k) // s + 1
            for n, p, k, s in zip(_size(x), padding, kernel, stride, strict=True)
        )
        return self.op(
            kind,
            x,
            name=name,
            shape=(_batch(x), channels(x), *size),
            kernel_shape=list(kernel),
            strides=list(stride),
            pads=[*padding, *padding],
            count_include_pad=1 if kind == "AveragePool" else None,
        )

    def global_average_pool(self, x: ir.Value, name: str = "pool") -> ir.Value:
        """Mean over height and width, kept as 1 x 1."""
        return self.op("GlobalAveragePool", x, name=name, shape=(_batch(x), channels(x), 1, 1))

    def elementwise(
        self, op_type: str, *inputs: ir.Value, name: str = "", **attributes: Any
    ) -> ir.Value:
        """An operator whose output has the shape of its first input."""
        return self.op(op_type, *inputs, name=name, shape=_dims(inputs[0]), **attributes)

    def concat(self, inputs: Sequence[ir.Value], name: str = "concat") -> ir.Value:
        """Channels side by side."""
        shape = (_batch(inputs[0]), sum(map(channels, inputs)), *_size(inputs[0]))
        return self.op("Concat", *inputs, name=name, shape=shape, axis=1)

    def split_channels(self, x: ir.Value, parts: Sequence[int]) -> tuple[ir.Value, ...]:
        """Consecutive slices of the channels."""
        ends = np.cumsum(parts)
        return tuple(
            self.op(
                "Slice",
                x,
                *(self.constant(key, np.array([n], np.int64))
                  for key, n in (("starts", end - part), ("ends", end), ("axes", 1))),
                shape=(_batch(x), part, *_size(x)),
            )
            for part, end in zip(parts, ends, strict=True)
        )  # fmt: skip

    def resize_nearest(self, x: ir.Value, factor: int, name: str = "resize") -> ir.Value:
        """Every pixel repeated ``factor`` times in both directions."""
        scales = self.constant(f"{name}.scales", np.array([1, 1, factor, factor], np.float32))
        height, width = _size(x)
        return self.op(
            "Resize",
            x,
            None,
            scales,
            name=name,
            shape=(_batch(x), channels(x), height * factor, width * factor),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def reshape(self, x: ir.Value, shape: Sequence[int], name: str = "reshape") -> ir.Value:
        """New shape of everything behind the batch dimension; -1 is worked out."""
        given = self.constant(f"{name}.shape", np.array([0, *shape], np.int64))
        whole = int(np.prod(_dims(x)[1:]))
        known = int(np.prod([n for n in shape if n != -1]))
        after = [whole // known if n == -1 else n for n in shape]
        return self.op("Reshape", x, given, name=name, shape=(_batch(x), *after))

    def transpose(self, x: ir.Value, order: Sequence[int], name: str = "transpose") -> ir.Value:
        """Dimensions in another order, the batch included."""
        dims = _dims(x)
        return self.op("Transpose", x, name=name, shape=[dims[i] for i in order], perm=list(order))

    def finish(
        self, outputs: Mapping[str, ir.Value], metadata: Mapping[str, str] | None = None
    ) -> ir.Model:
        """The model; each output is renamed to its key."""
        for name, value in outputs.items():
            value.name = name
        graph = ir.Graph(
            self._inputs,
            list(outputs.values()),
            nodes=self._nodes,
            initializers=list(self._initializers.values()),
            opset_imports={"": OPSET},
            name=self._graph_name,
        )
        return ir.Model(
            graph,
            ir_version=IR_VERSION,
            producer_name="detq",
            metadata_props=dict(metadata or {}),
        )

    def _here(self, name: str) -> str:
        return ".".join((*self._path, name))

    def _unique(self, name: str) -> str:
        candidate, count = name, 1
        while candidate in self._taken:
            candidate, count = f"{name}_{count}", count + 1
        self._taken.add(candidate)
        return candidate


def channels(value: ir.Value) -> int:
    """Size of dimension 1."""
    return int(_dims(value)[1])


def size_of(value: ir.Value) -> Pair:
    """Height and width of a [B, C, H, W] value."""
    height, width = _size(value)
    return height, width


def _dims(value: ir.Value) -> tuple[Any, ...]:
    if value.shape is None:
        raise AssertionError(f"shape of {value.name} was not followed")
    return tuple(n if isinstance(n, int) else str(n.value) for n in value.shape)


def _batch(value: ir.Value) -> Any:
    return _dims(value)[0]


def _size(value: ir.Value) -> tuple[int, ...]:
    return tuple(int(n) for n in _dims(value)[2:])
