"""``detq export``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from detq.cli.arguments import Output, Size
from detq.cli.sources import read_source
from detq.errors import InputError


def export(
    checkpoint: Path,
    /,
    *,
    output: Path,
    size: Size = (640, 640),
    batch: int | None = None,
    float_: Annotated[bool, Parameter(name="--float", negative="")] = True,
    merge: bool = True,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Write a checkpoint as a float ONNX file that explains itself.

    Example: detq export best_ckpt.pt --float --size 640 --output float.onnx

    Args:
        checkpoint: YOLOv6 checkpoint (.pt).
        output: ONNX file to write.
        size: Input size in pixels, 640 or 384x640 (height x width).
        batch: Fixed batch size; any batch if not given.
        float_: Float weights, the form there is so far.
        merge: Merge branches and normalization first.
        out: How the result is told.
    """
    from detq.dialects import write_float
    from detq.graph.files import save_model
    from detq.transforms import DEFAULT, transform

    if batch is not None and batch < 1:
        raise InputError(f"batch of {batch}", where="--batch", hint="give 1 or more")
    model = read_source(checkpoint, size)
    if merge:
        model = transform(model, DEFAULT)
    save_model(write_float(model, batch=batch), output)
    figures = {"output": str(output), "parameters": model.parameters}
    out.tell(figures, lambda: print(f"{output}: {model.parameters:,} parameters"))
