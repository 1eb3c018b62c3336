"""``detq eval``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from detq.cli.arguments import Output, print_table
from detq.cli.scoring import METRICS, score_file


def evaluate(
    model: Path,
    /,
    *,
    data: Path,
    images: Path | None = None,
    backend: str = "onnxruntime",
    shrink: int = 0,
    confidence: float = 0.03,
    iou: float = 0.65,
    max_detections: int = 300,
    threads: int | None = None,
    detections: Path | None = None,
    skip_bad_images: Annotated[bool, Parameter(negative="")] = False,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Score an ONNX file with COCO's metrics on an engine; the file alone is enough.

    Example: detq eval model.openvino.onnx --data val.json --images val2017 --backend openvino

    Args:
        model: ONNX file written by detq.
        data: Ground truth: COCO JSON or YOLO data.yaml.
        images: Folder of the images that a COCO JSON names.
        backend: torch, onnxruntime or openvino.
        shrink: Pixels the long side stays below the input size.
        confidence: Boxes with a lower score are dropped.
        iou: Overlap above which the weaker of two boxes of a class is dropped.
        max_detections: Boxes kept per image.
        threads: Threads of the engine; the usable cores if not given.
        detections: File to write the boxes to, in COCO's form.
        skip_bad_images: Go on without images that cannot be read.
        out: How the result is told.
    """
    from detq.recipe import Evaluation

    options = Evaluation(
        data=data,
        images=images,
        shrink=shrink,
        confidence=confidence,
        iou=iou,
        max_detections=max_detections,
        skip_bad_images=skip_bad_images,
        threads=threads,
    )
    found = score_file(model, backend, options, out, detections)

    def show() -> None:
        rows = [[name, f"{found[name]:.4f}"] for name in METRICS]
        print_table(f"{model.name} in {found['engine']}", ["metric", "0 to 1"], rows)
        print(
            f"{found['images']} images, {found['images_per_second']:.1f} a second ({found['isa']})"
        )
        if found["skipped"]:
            print(f"skipped: {', '.join(found['skipped'])}")

    out.tell(found, show)
