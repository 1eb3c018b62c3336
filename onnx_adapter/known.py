"""What is known of a value before any image is seen."""

import math
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from detq.graph.stored import Array


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a value.

    Attributes:
        dtype: element type, or None.
        shape: None where not even the rank is known; None for a single size.
        content: the numbers themselves, where they depend on no pixel.
    """

    dtype: ir.DataType | None = None
    shape: tuple[int | None, ...] | None = None
    content: Array | None = None

    @property
    def size(self) -> int | None:
        """How many numbers."""
        if self.shape is None or any(n is None for n in self.shape):
            return None
        return math.prod(n for n in self.shape if n is not None)


def known_from_type(proto: onnx.TypeProto | None) -> Known:
    """What ONNX's inference found."""
    if proto is None or not proto.HasField("tensor_type"):
        return Known()
    tensor = proto.tensor_type
    dtype = ir.DataType(tensor.elem_type) if tensor.elem_type else None
    if not tensor.HasField("shape"):
        return Known(dtype)
    dims = (d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return Known(dtype, tuple(dims))


def type_of_known(x: Known) -> onnx.TypeProto:
    """What ONNX's inference takes."""
    return onnx.helper.make_tensor_type_proto(int(x.dtype or 0), x.shape)
