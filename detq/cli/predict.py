"""``detq predict``."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detq.cli.arguments import Backend, Confidence, Count, Flag, Overlap
from detq.cli.output import Output, number_of
from detq.cli.scoring import warn_of_overflow, write_json
from detq.errors import InputError

if TYPE_CHECKING:
    from detq.data.images import ImageRef
    from detq.detection import Detections


def predict(
    model: Path,
    images: Path,
    /,
    *,
    output: Path,
    backend: Backend = "onnxruntime",
    confidence: Confidence = 0.25,
    iou: Overlap = 0.65,
    max_detections: Count = 300,
    threads: Count | None = None,
    skip_bad_images: Flag = False,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Draw what a model finds on pictures; writes the pictures and detections.json.

    Example: detq predict model.openvino.onnx pictures/ --backend openvino --output seen

    Args:
        model: ONNX file written by detq.
        images: A picture, a folder, a COCO JSON or a data.yaml.
        output: Folder for the annotated pictures; not among the pictures themselves.
        backend: Engine to run it on.
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
    pictures = _pictures(refs, output)
    _require_apart(images, output, pictures)
    options = InferenceOptions(
        confidence=confidence,
        iou=iou,
        max_detections=max_detections,
        skip_bad_images=skip_bad_images,
    )
    warn_of_overflow(model, backend, out)
    skipped: list[str] = []
    rows: list[dict[str, Any]] = []
    with (
        open_runner(backend, model, threads=threads, busy_cores=True) as runner,
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
            _write_picture(pictures[ref.path], ref, detections, names)
            rows += _rows(ref, detections, names, pictures[ref.path])
    write_json(output / "detections.json", rows)
    drawn, boxes = len(refs) - len(skipped), len(rows)
    figures = {"output": str(output), "images": drawn, "boxes": boxes, "skipped": skipped}

    def show() -> None:
        found = number_of(boxes, "box")
        print(f"{output}: {number_of(drawn, 'picture')}, {found} in detections.json")
        for line in skipped:
            print(f"left out: {line}")

    out.tell(figures, show)


def _pictures(refs: "Sequence[ImageRef]", output: Path) -> dict[Path, Path]:
    """Image → annotated picture, below ``output`` as the images lie below their folder."""
    above = Path(os.path.commonpath([ref.path.absolute().parent for ref in refs]))
    return {ref.path: output / ref.path.absolute().relative_to(above) for ref in refs}


def _require_apart(images: Path, output: Path, pictures: Mapping[Path, Path]) -> None:
    """Nobody's pictures are written over, or drawn on twice by the next call."""
    inside = images.is_dir() and output.resolve().is_relative_to(images.resolve())
    if inside or any(source.resolve() == drawn.resolve() for source, drawn in pictures.items()):
        raise InputError(
            "lies among the pictures", where=str(output), hint="give --output a folder of its own"
        )


def _write_picture(path: Path, ref: "ImageRef", found: "Detections", names: Sequence[str]) -> None:
    import cv2

    from detq.data.images import read_image
    from detq.whole_file import written_whole
    from detq_eval.draw import draw_boxes

    drawn = draw_boxes(read_image(ref.path), found, names)
    _, content = cv2.imencode(path.suffix, drawn)
    with written_whole(path) as temporary:
        temporary.write_bytes(content.tobytes())


def _rows(
    ref: "ImageRef", found: "Detections", names: Sequence[str], picture: Path
) -> list[dict[str, Any]]:
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
