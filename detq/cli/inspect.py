"""``detq inspect``."""

from collections import Counter
from pathlib import Path
from typing import Any

from detq.cli.arguments import Output, Size, print_table
from detq.cli.sources import read_source


def inspect(
    file: Path,
    /,
    *,
    size: Size = (640, 640),
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Show what a checkpoint or an ONNX file is made of.

    Example: detq inspect best_ckpt.pt

    Args:
        file: YOLOv6 checkpoint (.pt) or ONNX file (.onnx).
        size: Input size in pixels that the graph of a checkpoint is written for.
        out: How the result is told.
    """
    if file.suffix.lower() == ".onnx":
        _inspect_onnx(file, out)
    else:
        _inspect_checkpoint(file, size, out)


def _inspect_checkpoint(file: Path, size: tuple[int, int], out: Output) -> None:
    from detq.summary import Summary, summarize
    from detq.transforms import DEFAULT, transform

    source = read_source(file, size)
    found: Summary = summarize(source, transform(source, DEFAULT))

    def show() -> None:
        some = ", ".join(found.names[:8]) + (", ..." if len(found.names) > 8 else "")
        print(f"{found.family}: {found.source}")
        print(f"{len(found.names)} classes: {some}")
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

    out.tell(found, show)


def _inspect_onnx(file: Path, out: Output) -> None:
    from detq.detection import Detector
    from detq.graph.files import DETECTOR, RECIPE, TARGET, detector_from_metadata, load_model
    from detq.quantized import scales_of, weights_of

    model = load_model(file)
    known = DETECTOR in model.metadata_props
    detector: Detector | None = (
        detector_from_metadata(model.metadata_props, str(file)) if known else None
    )
    figures: dict[str, Any] = {
        "file": str(file),
        "detector": detector,
        "target": model.metadata_props.get(TARGET, ""),
        "recipe": model.metadata_props.get(RECIPE, ""),
        "opset": model.opset_imports.get("", 0),
        "operators": dict(Counter(node.op_type for node in model.graph)),
        "int8_weights": sum(1 for _ in weights_of(model)),
        "activation_scales": len(scales_of(model)),
    }

    def show() -> None:
        if detector is not None:
            height, width = detector.size
            print(f"{detector.family} at {height} x {width}: {detector.source}")
            print(f"{len(detector.names)} classes, strides {', '.join(map(str, detector.strides))}")
            print(f"target {figures['target']}")
        print(
            f"opset {figures['opset']}, {figures['int8_weights']} layers with INT8 weights, "
            f"{figures['activation_scales']} rounded tensors"
        )
        rows = [[name, str(count)] for name, count in sorted(figures["operators"].items())]
        print_table("", ["operator", "nodes"], rows)

    out.tell(figures, show)
