"""A quantized or float model, written for one consumer."""

from detq.dialects.write import write_float, write_quantized

__all__ = ["write_float", "write_quantized"]
