"""What an ONNX consumer can do, as data; who the consumers are is detq_deploy's to know."""

from dataclasses import dataclass, replace

from detq.numerics import WEIGHTS, Grid


@dataclass(frozen=True, slots=True)
class Target:
    """One consumer of a quantized ONNX file.

    Attributes:
        name: as given to ``--target``.
        unsigned_activations: tensors that cannot be negative use 0…255 with zero point 0.
        weights: grid of the weights; 7 bits where the machine's 8-bit products saturate.
        note: why these grids, for people.
        activation_bits: of the activations' grids.
        per_tensor_weights: one scale for all weights of a layer.
    """

    name: str
    unsigned_activations: bool = False
    weights: Grid = WEIGHTS
    note: str = ""
    activation_bits: int = 8
    per_tensor_weights: bool = False


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
