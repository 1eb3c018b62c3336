"""``detq export``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import msgspec
from cyclopts import Parameter

from detq.cli.answers import show_answers, show_record
from detq.cli.arguments import AnySize, Count, Flag, LayoutName, TargetName
from detq.cli.heads import HeadOptions
from detq.cli.output import Output, number_of
from detq.cli.sources import merged, names_from, read_source, size_for
from detq.errors import InputError

if TYPE_CHECKING:
    from detq.dialects.explain import Answer
    from detq.model import FloatModel
    from detq.recipe import Head
    from detq.target import Target

_QUANTIZE = "quantize it first: detq quantize ... --target plain"
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
    fp16: Flag = False,
    target: TargetName | None = None,
    strip: Flag = False,
    explain: Flag = False,
    heads: HeadOptions = HeadOptions(),  # noqa: B008 - frozen
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Write a checkpoint as a float ONNX or safetensors file that explains itself.

    A quantized file of detq (model.plain.onnx) is written for another target.

    Example: detq export best_ckpt.pt --float --size 640 --output float.onnx

    Example: detq export model.plain.onnx --target jetpack6.2 --output orin.onnx

    Args:
        checkpoint: YOLOv6 or Ultralytics checkpoint (.pt), .safetensors of detq, float ONNX, or
            model.plain.onnx of detq.
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
        fp16: Compute in float16, for a strongly typed TensorRT; decoding stays float32.
        target: Engine to write for: its operators, and for a quantized file its whole form.
        strip: Of a quantized file: float weights and a calibration cache, for DLA.
        explain: Tell for every layer whether it is INT8, and why.
        heads: What the file does besides the network.
        out: How the result is told.
    """
    from detq.cli.rewrite import is_quantized
    from detq.detection import SuppressedBy
    from detq.dialects import write_float
    from detq.dialects.heads import heads_from, with_heads
    from detq.graph.files import save_model
    from detq.graph.safetensors_file import save_safetensors
    from detq.whole_file import require_apart
    from detq_deploy.targets import target_named

    require_apart(output, checkpoint, None if names is None else Path(names))
    head = heads.for_recipe()
    if is_quantized(checkpoint):
        _refuse_float_options(
            {"--size": size, "--layout": layout, "--names": names},
            {
                "--format": format_ != "onnx",
                "--merge, --no-merge": merge is not None,
                "--half": half,
                "--fp16": fp16,
            },
        )
        return _rewrite(
            checkpoint, output, target, batch, head, strip=strip, explain=explain, out=out
        )
    if half and format_ != "safetensors":
        raise InputError("only for safetensors", where="--half", hint="add --format safetensors")
    if head is not None and format_ != "onnx":
        raise InputError(
            "only for ONNX", where="--nms, --with-preprocess", hint="leave --format out"
        )
    if strip:
        raise InputError("is not quantized", where=str(checkpoint), hint=_QUANTIZE)
    consumer = None if target is None else target_named(target)
    size = size_for(checkpoint, size)
    source = read_source(checkpoint, size, layout=layout, names=names_from(names))
    model = merged(source) if (format_ == "onnx" if merge is None else merge) else source
    graph = write_float(model, batch=batch, target=consumer, half=fp16)
    if head is not None:
        graph = with_heads(graph, heads_from(head), nms=get_args(SuppressedBy), where=str(output))
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

    answers = msgspec.to_builtins(_planned(merged(model), consumer)) if explain else []

    def show() -> None:
        if explain:
            show_answers("before calibration", answers)
        print(f"{model.detector.family}, {number_of(len(model.detector.names), 'class')}")
        print(f"images {batch or 'any'} x 3 x {size[0]} x {size[1]}")
        print(f"{output}: {model.parameters:,} parameters, {written / 1e6:.1f} MB")

    out.tell(figures | ({"layers": answers} if explain else {}), show)
    return None


def _planned(model: "FloatModel", target: "Target | None") -> "Sequence[Answer]":
    """What would become INT8, and why."""
    from detq.dialects.explain import planned
    from detq.placement import place
    from detq.target import PLAIN

    return planned(model.graph.graph, place(model, target or PLAIN))


def _refuse_float_options(of_source: Mapping[str, object], of_float: Mapping[str, bool]) -> None:
    """What is decided in a quantized file would be passed over in silence."""
    for option, value in {**of_source, **of_float}.items():
        if value:
            hint = "give it to detq quantize" if option in of_source else "leave it out"
            raise InputError("the file is quantized already", where=option, hint=hint)


def _rewrite(
    path: Path,
    output: Path,
    target: str | None,
    batch: int | None,
    head: "Head | None",
    *,
    strip: bool,
    explain: bool,
    out: Output,
) -> None:
    from detq.cli.rewrite import rewrite
    from detq_deploy.targets import target_named

    if target is None:
        raise InputError(
            "is quantized already", where=str(path), hint="add --target to write it for another"
        )
    figures = rewrite(path, output, target_named(target), batch=batch, head=head, strip=strip)

    def show() -> None:
        if explain:
            show_record(figures["record"])
        print(f"{output}: for {figures['target']}, {figures['bytes'] / 1e6:.1f} MB")
        if "cache" in figures:
            print(f"{figures['cache']}: {figures['scales']} scales")
        for warning in figures["warnings"]:
            print(f"warning: {warning}")

    out.tell(figures, show)
