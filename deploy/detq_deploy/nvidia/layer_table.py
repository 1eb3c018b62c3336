"""NVIDIA's layer table: what the builder made of a network, kernel by kernel.

The builder's log at VERBOSE level ends with it, for networks built with detailed profiling. One
line is one kernel, with the names and types of its tensors, as TensorRT 11 writes them::

    Name: …, LayerType: correlation, Inputs: [ { Name: …, Dimensions: [1,3,320,320], …,
    Datatype: Int8, Format: … }], Constants: […], Outputs: […], …,
    Metadata: [ONNX Layer: backbone.stem.conv]
"""

import re
from dataclasses import dataclass
from math import prod
from typing import Literal

BEGIN, END = "Layers:", "I/O Tensors:"

Kind = Literal["convolution", "pool", "rescale", "move", "cast", "wait", "other"]
HELPERS: tuple[Kind, ...] = ("rescale", "move", "cast", "other")
"""Kinds that stand between the layers; a wait is for another stream and touches no tensor."""

_BYTES = {
    "Bool": 1, "Double": 8, "FP8": 1, "Float": 4, "Half": 2, "BFloat16": 2, "BF16": 2, "Int32": 4,
    "Int64": 8, "Int8": 1, "UInt8": 1,
}  # fmt: skip
_CONVOLVING = ("correlation", "deconv", "convolution", "runtime_fusion", "fusion", "gemm", "matmul")
_POOLING = ("maxpool", "avgpool", "pool", "pooling")
_WAITING = ("wait", "signal")
_GENERATED = "kgen"
_INSIDE = "Corr"  # a small convolution that a generated kernel took in
_ONNX_NAME = re.compile(r"\[ONNX Layer: ([^\x1e\x1f]*)\]")  # separated by \x1f
_HEAD = re.compile(r"Name: (.*?), LayerType: (\w+), ")
_TENSOR = re.compile(r"\{ Name: (.*?), Dimensions: \[([\d,\s-]*)\].*?Datatype: (\w+)")
_PROGRAM = re.compile(r"__myl_(\w+?)_myl\d+_\d+$")
_WORD = re.compile(r"[A-Z][a-z0-9]*")
_COPIES = {"Move", "Conc", "Tran", "Resh", "Slic", "Pad", "Etc"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a kernel reads or writes.

    Attributes:
        name: NVIDIA's.
        shape: of its elements.
        dtype: as NVIDIA writes it: ``Int8``, ``Half``, ``Float``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """Size, padding left out."""
        return prod(self.shape) * _BYTES.get(self.dtype, 4)


@dataclass(frozen=True, slots=True)
class Kernel:
    """One line of the table.

    Attributes:
        name: NVIDIA's.
        layer_type: NVIDIA's, such as ``correlation`` (a convolution) or ``kgen`` (generated).
        inputs: computed tensors it reads.
        constants: stored tensors it reads.
        outputs: tensors it writes.
        nodes: names of the ONNX nodes it was made from.
    """

    name: str
    layer_type: str
    inputs: tuple[Tensor, ...]
    constants: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    nodes: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        """What it is for; ``rescale`` also adds the bias, activates and rounds."""
        if self.layer_type in _CONVOLVING:
            return "convolution"
        if self.layer_type in _POOLING:
            return "pool"
        if self.layer_type in _WAITING:
            return "wait"
        words = self.words
        if _INSIDE in words:
            return "convolution"
        if self.layer_type != _GENERATED or not words:
            return "other"
        if "Roun" in words:
            return "rescale"
        if set(words) <= _COPIES:
            return "move"
        return "cast" if set(words) <= _COPIES | {"Cast", "Mul"} else "other"

    @property
    def words(self) -> tuple[str, ...]:
        """Steps of a generated kernel, cut to four letters: Mul, Add, Relu, Roun, Cast."""
        found = _PROGRAM.match(self.name)
        return tuple(_WORD.findall(found[1])) if found else ()

    @property
    def int8(self) -> bool:
        """Whether it multiplies integers: a convolution with INT8 input and weights."""
        if self.kind != "convolution":
            return False
        # A generated kernel may round its input itself.
        rounded = _INSIDE in self.words or any(x.dtype == "Int8" for x in self.inputs[:1])
        weights = self.constants or self.inputs[1:]
        return rounded and any(x.dtype == "Int8" and len(x.shape) == 4 for x in weights)

    @property
    def bytes_moved(self) -> int:
        """Read and written, weights included."""
        return sum(t.bytes for part in (self.inputs, self.constants, self.outputs) for t in part)


def kernels_from_log(log: str) -> tuple[Kernel, ...]:
    """The layer table at the end of a builder's log; nothing where there is none."""
    _, begin, rest = log.rpartition(f"{BEGIN}\n")
    table = rest.partition(f"\n{END}")[0] if begin else ""
    return tuple(_kernel(line) for line in table.splitlines() if line.startswith("Name: "))


def _kernel(line: str) -> Kernel:
    head = _HEAD.match(line)
    if head is None:
        raise AssertionError(f"no kernel: {line[:80]}")
    body, _, names = line[head.end() :].partition("Metadata: ")
    return Kernel(
        head[1],
        head[2],
        _tensors(body, "Inputs"),
        _tensors(body, "Constants"),
        _tensors(body, "Outputs"),
        tuple(_ONNX_NAME.findall(names.strip())),
    )


def _tensors(body: str, part: str) -> tuple[Tensor, ...]:
    _, found, rest = body.partition(f"{part}: [")
    return tuple(
        Tensor(name, tuple(int(n) for n in shape.split(",") if n.strip()), dtype)
        for name, shape, dtype in _TENSOR.findall(_until_closed(rest) if found else "")
    )


def _until_closed(text: str) -> str:
    depth = 1
    for place, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if depth == 0:
            return text[:place]
    return text
