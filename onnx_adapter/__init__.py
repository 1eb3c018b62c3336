"""Detectors that are ONNX files already, as float graphs with blocks and stages."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx_adapter.read import image_size, read_onnx

__all__ = ["image_size", "read_onnx"]


def __getattr__(name: str) -> Any:
    """Load what is asked for, so that importing the package costs nothing."""
    if name in __all__:
        from onnx_adapter import read

        return getattr(read, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
