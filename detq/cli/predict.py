"""``detq predict``."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from detq.cli.arguments import Output
from detq.cli.scoring import write_json


def predict(
    model: Path,
    images: Path,
    /,
    *,
    output: Path,
    backend: str = "onnxruntime",
    confidence: float = 0.25,
    iou: float = 0.65,
    max_detections: int = 300,
    threads: int | None = None,
    skip_bad_images: Annotated[bool, Parameter(negative="")] = False,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Draw what a model finds on pictures; writes the pictures and detections.json.

    Example: detq predict model.openvino.onnx pictures/ --backend openvino --output seen

    Args:
        model: ONNX file written by detq.
        images: A picture, a folder, a COCO JSON or a data.yaml.
        output: Folder for the annotated pictures.
        backend: torch, onnxruntime or openvino.
        confidence: Boxes with a lower score are not shown.
        iou: Overlap above which the weaker of two boxes of a class is dropped.
        max_detections: Boxes kept per image.
        threads: Threads of the engine; the usable cores if not given.
        skip_bad_images: Go on without images that cannot be read.
        out: How the result is told.
    """
    from detq.data.images import list_images
    from detq_deploy.backends import open_runner
    from detq_eval.infer import InferenceOptions, infer

    refs = list_images(images, split="val")
    options = InferenceOptions(
        confidence=confidence,
        iou=iou,
        max_detections=max_detections,
        skip_bad_images=skip_bad_images,
    )
    skipped: list[str] = []
    rows: list[dict[str, Any]] = []
    with (
        open_runner(backend, model, threads=threads) as runner,
        out.progress("predict", len(refs)) as on_step,
    ):
        names = runner.detector.names
        found = infer(
            runner,
            refs,
            options,
            on_step=on_step,
            on_skip=lambda ref, error: skipped.append(str(error)),
        )
        for ref, detections in found:
            picture = _write_picture(output, ref, detections, names)
            rows += _rows(ref, detections, names, picture)
    write_json(output / "detections.json", rows)
    figures = {"images": len(refs) - len(skipped), "boxes": len(rows), "skipped": skipped}

    def show() -> None:
        print(f"{figures['images']} pictures, {len(rows)} boxes: {output}")
        for line in skipped:
            print(f"skipped: {line}")

    out.tell(figures, show)


def _write_picture(output: Path, ref: Any, detections: Any, names: tuple[str, ...]) -> Path:
    import cv2

    from detq.data.images import read_image
    from detq.whole_file import written_whole
    from detq_eval.draw import draw_boxes

    drawn = draw_boxes(read_image(ref.path), detections, names)
    # The id of a picture from a folder is its path below it, so equal names stay apart.
    below = Path(ref.id) if isinstance(ref.id, str) else Path(ref.path.name)
    name = below.name if below.is_absolute() or ".." in below.parts else below
    path = (output / name).with_suffix(".jpg")
    _, content = cv2.imencode(".jpg", drawn)
    with written_whole(path) as temporary:
        temporary.write_bytes(content.tobytes())
    return path


def _rows(ref: Any, found: Any, names: tuple[str, ...], picture: Path) -> list[dict[str, Any]]:
    return [
        {
            "image": str(ref.path),
            "picture": str(picture),
            "class": names[label],
            "score": score,
            "box_in_original": box,
        }
        for box, score, label in zip(
            found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True
        )
    ]
