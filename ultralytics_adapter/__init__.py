"""Ultralytics checkpoints as float ONNX graphs with their branches apart, without the package."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ultralytics_adapter.checkpoint import Checkpoint, checkpoint_from_file, read_checkpoint
    from ultralytics_adapter.source import source_from_checkpoint

__all__ = ["Checkpoint", "checkpoint_from_file", "read_checkpoint", "source_from_checkpoint"]


def __getattr__(name: str) -> Any:
    """Load what is asked for, so that importing the package costs nothing."""
    if name in ("Checkpoint", "checkpoint_from_file", "read_checkpoint"):
        from ultralytics_adapter import checkpoint

        return getattr(checkpoint, name)
    if name == "source_from_checkpoint":
        from ultralytics_adapter.source import source_from_checkpoint

        return source_from_checkpoint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
