"""What an ONNX consumer can do, as data; who the consumers are is detq_deploy's to know."""

from dataclasses import dataclass, replace
from typing import Literal

from detq.numerics import WEIGHTS, Grid

Transposed = Literal["per_tensor", "float"]
Dla = Literal["none", "cache", "qdq"]


@dataclass(frozen=True, slots=True)
class Kernels:
    """What the INT8 kernels of a CPU engine need, and from where they pay.

    Attributes:
        least_products: a convolution with fewer products per number that it gives stays float.
        rounded_outputs: a layer runs in INT8 only if what it gives is rounded for all who read
            it: directly behind it, or behind its ReLU.
        own_scales: a Concat takes tensors of different scales.
    """

    least_products: int
    rounded_outputs: bool = False
    own_scales: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """One consumer of a quantized ONNX file.

    Attributes:
        name: as given to ``--target``.
        unsigned_activations: tensors that cannot be negative use 0…255 with zero point 0.
        shifted_activations: the others are stored as 0…255 with zero point 128.
        weights: grid of the weights; 7 bits where the machine's 8-bit products saturate.
        note: why these grids, for people.
        activation_bits: of the activations' grids.
        per_tensor_weights: one scale for all weights of a layer.
        engine: program that runs the file; empty where any may.
        version: of the engine, as ``8.5``; empty where it does not matter.
        build: the number that its calibration caches begin with; 0 where it reads none.
        opset: the file is written in, or in the next one that has all its operators.
        opset_ceiling: the newest that its parser is documented to take.
        strongly_typed: every tensor has the type the file gives it, so the body is float16;
            else the body is float32 and the engine chooses.
        int8_initializers: weights are stored as integers in front of DequantizeLinear; else as
            floats in front of both.
        scale_types: that Q and DQ take.
        transposed: how a transposed convolution is quantized, one scale in all or not.
        tensor_cores: depthwise and narrow convolutions gain nothing and stay float.
        first_layer: the layer that reads the images is INT8.
        predictions: the layers that give boxes and scores are INT8.
        nms: suppression that can be part of the file: ``efficient`` is the plugin
            EfficientNMS_TRT, ``onnx`` the operator NonMaxSuppression.
        dla: how NVIDIA's DLA is reached: not at all, by a float file and a calibration cache,
            or by Q/DQ.
        saturating: 8-bit products overflow 16 bits, on this machine, with 8-bit weights.
        kernels: of a CPU engine; None where every layer may gain.
        operators: that its parser knows; empty where that is not known.
        source: where all this is from.
    """

    name: str
    unsigned_activations: bool = False
    shifted_activations: bool = False
    weights: Grid = WEIGHTS
    note: str = ""
    activation_bits: int = 8
    per_tensor_weights: bool = False
    engine: str = ""
    version: str = ""
    build: int = 0
    opset: int = 17
    opset_ceiling: int = 24
    strongly_typed: bool = False
    int8_initializers: bool = True
    scale_types: tuple[str, ...] = ("float32",)
    transposed: Transposed = "per_tensor"
    tensor_cores: bool = False
    first_layer: bool = True
    predictions: bool = False
    nms: tuple[str, ...] = ("onnx",)
    dla: Dla = "none"
    saturating: bool = False
    kernels: Kernels | None = None
    operators: frozenset[str] = frozenset()
    source: str = ""


def with_grids(
    target: Target, *, weight_bits: int, activation_bits: int, per_tensor_weights: bool
) -> Target:
    """The same consumer with coarser grids; never with finer ones than it has."""
    return replace(
        target,
        weights=Grid(min(weight_bits, target.weights.bits), narrow=True),
        activation_bits=min(activation_bits, target.activation_bits),
        per_tensor_weights=per_tensor_weights,
    )


PLAIN = Target("plain", note="TensorRT's numerics, for simulation: s8 activations, s8 weights")
