"""A kernel of an engine, whoever told of it: a builder's log or the engine inspector."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

Kind = Literal[
    "convolution", "pool", "rescale", "quantize", "reformat", "move", "cast", "wait", "nothing",
    "other",
]  # fmt: skip
HELPERS: tuple[Kind, ...] = ("rescale", "quantize", "reformat", "move", "cast", "other")
"""Kinds that stand between the layers; a wait is for another stream and touches no tensor."""

_BYTES = {
    "Bool": 1, "Double": 8, "FP8": 1, "Float": 4, "Half": 2, "BFloat16": 2, "BF16": 2, "Int32": 4,
    "Int64": 8, "Int8": 1, "UInt8": 1,
}  # fmt: skip
# TensorRT-RTX says correlation and deconv; TensorRT CaskConvolution, CaskDeconvolutionV2,
# CudaDepthwiseConvolution, FusedConvActConvolution, ConvActPool, CaskGemmConvolution and the like.
_CONVOLVING = re.compile(
    r"correlation|conv(?!er)|^(runtime_)?fusion$|gemm|matmul|matrixmultiply|fullyconnected",
    re.IGNORECASE,
)
_POOLING = re.compile(r"pool", re.IGNORECASE)
_TRANSPOSED = re.compile(r"deconv", re.IGNORECASE)
_BY_NAME: dict[str, Kind] = {
    "wait": "wait", "signal": "wait", "reformat": "reformat", "noop": "nothing",
    "shuffle": "move", "slice": "move", "padding": "move", "concatenation": "move",
}  # fmt: skip
_QUANTIZING = "QDQ"  # origin of a Reformat that is a Q or a DQ
_GENERATED = "kgen"
_INSIDE = "Corr"  # a small convolution that a generated kernel took in
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
        layout: how it lies in memory, in NVIDIA's words.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str = ""

    @property
    def bytes(self) -> int:
        """Size, padding left out; dimensions that vary (-1) are taken as 1."""
        return _count(self.shape) * _BYTES.get(self.dtype, 4)


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel.

    Attributes:
        name: NVIDIA's.
        layer_type: NVIDIA's, such as ``correlation`` or ``CaskConvolution``, or ``kgen``
            (generated).
        inputs: computed tensors it reads.
        constants: stored tensors it reads.
        outputs: tensors it writes.
        nodes: names of the ONNX nodes it was made from.
        origin: why TensorRT put it in, of a Reformat: ``QDQ`` or ``REFORMAT``.
    """

    name: str
    layer_type: str
    inputs: tuple[Tensor, ...]
    constants: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    nodes: tuple[str, ...]
    origin: str = ""

    @property
    def kind(self) -> Kind:
        """What it is for; ``rescale`` also adds the bias, activates and rounds."""
        if self.origin == _QUANTIZING:
            return "quantize"
        known = _BY_NAME.get(self.layer_type.lower())
        if known is not None:
            return known
        if _CONVOLVING.search(self.layer_type) or _INSIDE in self.words:
            return "convolution"
        if _POOLING.search(self.layer_type):
            return "pool"
        if self.layer_type != _GENERATED or not self.words:
            return "other"
        if "Roun" in self.words:
            return "rescale"
        if set(self.words) <= _COPIES:
            return "move"
        return "cast" if set(self.words) <= _COPIES | {"Cast", "Mul"} else "other"

    @property
    def words(self) -> tuple[str, ...]:
        """Steps of a generated kernel, cut to four letters: Mul, Add, Relu, Roun, Cast."""
        found = _PROGRAM.match(self.name)
        return tuple(_WORD.findall(found[1])) if found else ()

    @property
    def weights(self) -> Tensor | None:
        """What a convolution multiplies with, stored or computed; None where that is not told.

        It begins with the channels of the output, or of the input where it is transposed.
        """
        ends = [x.shape[1] for x in (*self.outputs[:1], *self.inputs[:1]) if len(x.shape) == 4]
        found = [
            x
            for x in (*self.constants, *self.inputs[1:])
            if self.kind == "convolution" and len(x.shape) == 4 and x.shape[0] in ends
        ]
        return max(found, key=lambda x: prod(x.shape), default=None)

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
    def precision(self) -> str:
        """Type it computes in: ``Int8`` of a convolution in INT8, else that of what it reads."""
        if self.int8:
            return "Int8"
        read = [x.dtype for x in (*self.inputs, *self.outputs) if x.dtype]
        if self.kind == "convolution":  # rounded outside and computed in float
            return next((dtype for dtype in read if dtype != "Int8"), "Float")
        return read[0] if read else ""

    @property
    def macs(self) -> int:
        """Products of a convolution: weights times the pixels each is used at.

        For one run, or for one image where the batch varies.
        """
        weights = self.weights
        ends = self.inputs if _TRANSPOSED.search(self.layer_type) else self.outputs
        if weights is None or not ends or len(ends[0].shape) != 4:
            return 0
        batch, _, height, width = ends[0].shape
        return _count((batch, height, width)) * prod(weights.shape)

    @property
    def bytes_moved(self) -> int:
        """Read and written, weights included."""
        return sum(t.bytes for part in (self.inputs, self.constants, self.outputs) for t in part)


def _count(shape: Sequence[int]) -> int:
    return prod(max(1, dim) for dim in shape)
