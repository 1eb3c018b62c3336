"""``detq inspect``."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detq.cli.arguments import AnySize
from detq.cli.output import Output, number_of, print_table
from detq.cli.sources import merged, read_source, size_for
from detq.errors import DetqError

if TYPE_CHECKING:
    from detq.detection import Detector
    from detq.summary import Summary


def inspect(
    file: Path,
    /,
    *,
    size: AnySize = None,
    onnx: Path | None = None,
    times: Path | None = None,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Show what a checkpoint, an ONNX file or a TensorRT engine is made of.

    Example: detq inspect best_ckpt.pt

    Example: detq inspect model.plain.onnx

    Example: detq inspect model.engine

    Args:
        file: YOLOv6 checkpoint (.pt), ONNX file (.onnx), TensorRT engine (.engine), or the list
            of an engine's layers that trtexec --exportLayerInfo writes (.json).
        size: Input size in pixels that a graph is written for; 640, or what an ONNX file is
            made for, if not given.
        onnx: Q/DQ file that an engine was built from, where no side-car knows what it asked.
        times: Times of an engine's layers, by trtexec --exportProfile.
        out: How the result is told.
    """
    from detq_deploy.trt.foreign import is_engine
    from detq_deploy.trt.layers import is_layers

    if is_engine(file) or is_layers(file):
        from detq.cli.inspect_engine import show_engine

        show_engine(file, onnx, times, out)
    elif file.suffix.lower() == ".onnx":
        _inspect_onnx(file, size, out)
    else:
        _inspect_checkpoint(file, size_for(file, size), out)


def _inspect_checkpoint(file: Path, size: tuple[int, int], out: Output) -> None:
    from detq.summary import summarize

    source = read_source(file, size)
    found = summarize(source, merged(source))
    out.tell(found, lambda: _show_checkpoint(found))


def _show_checkpoint(found: "Summary") -> None:
    some = ", ".join(found.names[:8]) + (", ..." if len(found.names) > 8 else "")
    print(f"{found.family}: {found.source}")
    print(f"{number_of(len(found.names), 'class')}: {some}")
    print(f"strides {', '.join(map(str, found.strides))}; {len(found.stages)} stages")
    print(f"blocks: {', '.join(f'{n} {kind}' for kind, n in found.blocks.items())}")
    print(
        f"{found.parameters:,} parameters, {found.parameters_merged:,} merged, "
        f"in {found.layers} convolutions"
    )
    rows = [
        [k.layer, " x ".join(map(str, k.shape)), f"{k.centre_over_surround:.2f}"]
        for k in found.kernels
    ]
    print_table("merged 3 x 3 kernels", ["layer", "shape", "centre / surround"], rows)
    print("centre / surround: spread of the centre taps over that of the others; the further")
    print("from 1, the worse one scale serves both")


def _inspect_onnx(file: Path, size: tuple[int, int] | None, out: Output) -> None:
    from detq.graph.files import DETECTOR, RECIPE, TARGET, detector_from_metadata, load_model
    from detq.quantized import scales_of, weights_of

    model = load_model(file)
    props = model.metadata_props
    detector = detector_from_metadata(props, str(file)) if DETECTOR in props else None
    figures: dict[str, Any] = {
        "file": str(file),
        "bytes": file.stat().st_size,
        "detector": detector,
        "target": props.get(TARGET, ""),
        "recipe": props.get(RECIPE, ""),
        "inputs": {str(value.name): _shape(value) for value in model.graph.inputs},
        "outputs": {str(value.name): _shape(value) for value in model.graph.outputs},
        "opset": model.opset_imports.get("", 0),
        "operators": dict(Counter(node.op_type for node in model.graph)),
        "int8_weights": sum(1 for _ in weights_of(model)),
        "activation_scales": len(scales_of(model)),
    }
    if detector is None:
        figures["network"] = _network(file, size)
    out.tell(figures, lambda: _show_onnx(figures, detector))


def _network(file: Path, size: tuple[int, int] | None) -> dict[str, Any]:
    """What quantize would make of a file that detq did not write, or why it would not."""
    try:
        source = read_source(file, size_for(file, size))
    except DetqError as error:
        return {"refused": str(error)}
    return {
        "detector": source.detector,
        "stages": source.stages,
        "blocks": dict(Counter(block.kind for block in source.blocks)),
        "parameters": source.parameters,
    }


def _shape(value: Any) -> list[int | str]:
    dims = value.shape or ()
    return [dim if isinstance(dim, int) else str(dim.value or "any") for dim in dims]


def _show_network(found: dict[str, Any]) -> None:
    if "refused" in found:
        print(f"cannot be quantized: {found['refused']}")
        return
    detector = found["detector"]
    strides = ", ".join(map(str, detector.strides))
    count = number_of(len(detector.names), "class")
    print(f"a detector of {count}, output in {detector.layout}, strides {strides}")
    blocks = ", ".join(f"{n} {kind}" for kind, n in found["blocks"].items())
    print(f"{number_of(len(found['stages']), 'stage')}; blocks: {blocks}")


def _show_onnx(figures: dict[str, Any], detector: "Detector | None") -> None:
    if detector is None:
        print(f"{figures['file']}: not written by detq")
        _show_network(figures["network"])
    else:
        height, width = detector.size
        print(f"{detector.family} at {height} x {width}: {detector.source}")
        strides = ", ".join(map(str, detector.strides))
        print(f"{number_of(len(detector.names), 'class')}, strides {strides}")
        print(f"made for {figures['target']}")
    for kind in ("inputs", "outputs"):
        for name, shape in figures[kind].items():
            print(f"{kind[:-1]} {name}: {' x '.join(map(str, shape))}")
    weights = number_of(figures["int8_weights"], "layer")
    tensors = number_of(figures["activation_scales"], "rounded tensor")
    size = f"{figures['bytes'] / 1e6:.1f} MB"
    print(f"{size}, opset {figures['opset']}, {weights} with INT8 weights, {tensors}")
    rows = [[name, str(count)] for name, count in sorted(figures["operators"].items())]
    print_table("", ["operator", "nodes"], rows)
