"""What an ONNX consumer can do, as data; who the consumers are is detq_deploy's to know."""

from dataclasses import dataclass

from detq.numerics import WEIGHTS, Grid


@dataclass(frozen=True, slots=True)
class Target:
    """One consumer of a quantized ONNX file.

    Attributes:
        name: as given to ``--target``.
        unsigned_activations: tensors that cannot be negative use 0…255 with zero point 0.
        weights: grid of the weights; 7 bits where the machine's 8-bit products saturate.
        note: why these grids, for people.
    """

    name: str
    unsigned_activations: bool = False
    weights: Grid = WEIGHTS
    note: str = ""


PLAIN = Target("plain", note="TensorRT's numerics, for simulation: s8 activations, s8 weights")
