"""``detq export``."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from detq.cli.arguments import AnySize, Count, Flag, LayoutName
from detq.cli.output import Output, number_of
from detq.cli.sources import merged, names_from, read_source, size_for
from detq.errors import InputError

Format = Literal["onnx", "safetensors"]


def export(
    checkpoint: Path,
    /,
    *,
    output: Path,
    size: AnySize = None,
    layout: LayoutName | None = None,
    names: str | None = None,
    format_: Annotated[Format, Parameter(name="--format")] = "onnx",
    batch: Count | None = None,
    float_: Annotated[Flag, Parameter(name="--float")] = True,
    merge: bool | None = None,
    half: Flag = False,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Write a checkpoint as a float ONNX or safetensors file that explains itself.

    Example: detq export best_ckpt.pt --float --size 640 --output float.onnx

    Args:
        checkpoint: YOLOv6 or Ultralytics checkpoint (.pt), .safetensors of detq, or float ONNX.
        output: File to write.
        size: Input size in pixels, 640 or 384x640 (height x width); 640, or what an ONNX file
            is made for, if not given.
        layout: Output of an ONNX file: rows [B, boxes, columns] or channels [B, columns, boxes];
            recognised if not given.
        names: Class names of an ONNX file: a,b,c, a data.yaml or COCO JSON; its own if
            not given.
        format_: ONNX, merged for engines; or safetensors, branches apart, to go on from.
        batch: Fixed batch size; any batch if not given.
        float_: Float weights, the only form here; quantize writes INT8.
        merge: Merge branches and normalization first; on for ONNX, off for safetensors.
        half: Store weights as float16, in safetensors only.
        out: How the result is told.
    """
    from detq.dialects import write_float
    from detq.graph.files import save_model
    from detq.graph.safetensors_file import save_safetensors

    if half and format_ != "safetensors":
        raise InputError("only for safetensors", where="--half", hint="add --format safetensors")
    size = size_for(checkpoint, size)
    source = read_source(checkpoint, size, layout=layout, names=names_from(names))
    model = merged(source) if (format_ == "onnx" if merge is None else merge) else source
    graph = write_float(model, batch=batch)
    if format_ == "onnx":
        save_model(graph, output)
    else:
        save_safetensors(graph, output, half=half)
    figures = {
        "output": str(output),
        "family": model.detector.family,
        "size": size,
        "batch": batch,
        "classes": len(model.detector.names),
        "parameters": model.parameters,
        "bytes": (written := output.stat().st_size),
    }

    def show() -> None:
        print(f"{model.detector.family}, {number_of(len(model.detector.names), 'class')}")
        print(f"images {batch or 'any'} x 3 x {size[0]} x {size[1]}")
        print(f"{output}: {model.parameters:,} parameters, {written / 1e6:.1f} MB")

    out.tell(figures, show)
