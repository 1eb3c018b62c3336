"""``detq eval``."""

from pathlib import Path
from typing import Any

from detq.cli.arguments import Backend, Confidence, Count, Flag, Overlap, Pixels
from detq.cli.output import Output, number_of, print_table
from detq.cli.scoring import METRICS, score_file, warn_of_order


def evaluate(
    model: Path,
    /,
    *,
    data: Path,
    images: Path | None = None,
    backend: Backend | None = None,
    shrink: Pixels = 0,
    confidence: Confidence = 0.03,
    iou: Overlap = 0.65,
    max_detections: Count = 300,
    threads: Count | None = None,
    detections: Path | None = None,
    contract: Path | None = None,
    skip_bad_images: Flag = False,
    on: str | None = None,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Score a model with COCO's metrics on an engine; the file alone is enough.

    Example: detq eval model.openvino.onnx --data data.yaml --backend openvino

    Example: detq eval float.onnx --data val.json --images val2017 --json

    Args:
        model: ONNX file written by detq, or a TensorRT engine.
        data: Ground truth: COCO JSON or YOLO data.yaml.
        images: Folder of the images that a COCO JSON names.
        backend: Engine to run it on; tensorrt for its engines, else onnxruntime, if not given.
        shrink: Pixels the long side stays below the input size.
        confidence: Boxes with a lower score are dropped.
        iou: Overlap above which the weaker of two boxes of a class is dropped.
        max_detections: Boxes kept per image.
        threads: Threads of the engine; the usable cores if not given.
        detections: File to write the boxes to, in COCO's form.
        contract: ONNX file of detq that a TensorRT engine without a side-car was built from.
        skip_bad_images: Go on without images that cannot be read.
        on: Device that runs the model, user@host or user@host:port, by ssh; pictures are read,
            and boxes picked and scored, here.
        out: How the result is told.
    """
    from detq.recipe import Evaluation
    from detq.whole_file import require_apart, require_writable
    from detq_deploy.backends import backend_of

    if detections is not None:
        require_apart(detections, model, data, contract)
        require_writable(detections)
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
    engine = backend_of(model, backend)
    found = score_file(model, engine, options, out, detections, contract=contract, on=on)
    warn_of_order(found, out)
    out.tell(found, lambda: _show(found))


def _show(found: dict[str, Any]) -> None:
    # COCO's mark for a kind of box that the ground truth does not have.
    values = ["none in the truth" if found[m] < 0 else f"{found[m]:.4f}" for m in METRICS]
    rows = [list(row) for row in zip(METRICS, values, strict=True)]
    print_table(f"{found['file']} in {found['engine']}", ["metric", "0 to 1"], rows)
    speed = f"{found['images_per_second']:.1f} a second ({found['isa']})"
    print(f"{number_of(found['images'], 'image')}, {speed}; {found['protocol']}")
    for name in found["skipped"]:
        print(f"left out: {name}")
