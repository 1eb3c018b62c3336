"""``detq predict``."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detq.cli.arguments import Backend, Confidence, Count, Flag, Overlap
from detq.cli.output import Output, number_of
from detq.cli.scoring import warn_of_runner, warn_of_wrong_sums, write_json
from detq.data.image_files import IMAGE_SUFFIXES
from detq.errors import InputError

if TYPE_CHECKING:
    from detq.data.images import ImageRef, Pixels
    from detq.detection import Detections
    from detq.runner import Runner
    from detq_eval.infer import InferenceOptions

_WHOLE = 0.98  # of the frames a file announces, which is an estimate in some containers


def predict(
    model: Path,
    images: Path,
    /,
    *,
    output: Path,
    backend: Backend | None = None,
    confidence: Confidence = 0.25,
    iou: Overlap = 0.65,
    max_detections: Count = 300,
    threads: Count | None = None,
    skip_bad_images: Flag = False,
    contract: Path | None = None,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Draw what a model finds on pictures or a video; writes these and detections.json.

    Example: detq predict model.onnxruntime.onnx pictures/ --output seen

    Example: detq predict float.onnx clip.mp4 --backend openvino --output seen

    Args:
        model: ONNX file written by detq, or a TensorRT engine.
        images: A picture, a folder, a COCO JSON, a data.yaml, or a video file.
        output: Folder for what is drawn on; not among the pictures themselves.
        backend: Engine to run it on; tensorrt for its engines, else onnxruntime, if not given.
        confidence: Boxes with a lower score are not shown.
        iou: Overlap above which the weaker of two boxes of a class is dropped.
        max_detections: Boxes kept per image.
        threads: Threads of the engine; the usable cores if not given.
        skip_bad_images: Go on without images that cannot be read.
        contract: ONNX file of detq that a TensorRT engine without a side-car was built from.
        out: How the result is told.
    """
    from detq.whole_file import require_apart
    from detq_deploy.backends import backend_of, open_runner
    from detq_eval.infer import InferenceOptions
    from detq_eval.video import VIDEO_SUFFIXES

    found = output / "detections.json"
    require_apart(found, model, images, contract)
    options = InferenceOptions(
        confidence=confidence,
        iou=iou,
        max_detections=max_detections,
        skip_bad_images=skip_bad_images,
    )
    is_video = images.suffix.lower() in VIDEO_SUFFIXES and not images.is_dir()
    draw = _on_video if is_video else _on_pictures
    work = draw(images, output, options, out)
    engine = backend_of(model, backend)
    warn_of_wrong_sums(model, engine, out)
    with open_runner(engine, model, threads=threads, busy_cores=True, contract=contract) as runner:
        warn_of_runner(runner, out)
        drawn = work(runner)
    write_json(found, drawn.rows)
    figures = {
        "output": str(output),
        drawn.of: drawn.count,
        "boxes": len(drawn.rows),
        "skipped": drawn.skipped,
    }

    def show() -> None:
        boxes = number_of(len(drawn.rows), "box")
        print(f"{output}: {number_of(drawn.count, drawn.noun)}, {boxes} in {found.name}")
        for line in drawn.skipped:
            print(f"left out: {line}")

    out.tell(figures, show)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What was drawn on.

    Attributes:
        of: its name among the figures.
        noun: its name for a person.
        count: pictures or frames.
        rows: one for each box.
        skipped: why pictures were left out.
    """

    of: str
    noun: str
    count: int
    rows: list[dict[str, Any]]
    skipped: list[str]


Work = Callable[["Runner"], _Drawn]


def _on_pictures(images: Path, output: Path, options: "InferenceOptions", out: Output) -> Work:
    """Checks what it is given at once; what it returns draws."""
    from detq.data.images import list_images
    from detq_eval.infer import infer

    refs = list_images(images, split="val")
    pictures = _pictures(refs, output)
    _require_apart(images, output, pictures)

    def draw(runner: "Runner") -> _Drawn:
        skipped: list[str] = []
        rows: list[dict[str, Any]] = []
        names = runner.detector.names
        with out.progress("predict", len(refs)) as on_step:
            found = infer(
                runner,
                refs,
                options,
                on_step=on_step,
                on_skip=lambda ref, error: skipped.append(str(error)),
            )
            for ref, detections in found:
                picture = pictures[ref.path]
                _write_picture(picture, ref, detections, names)
                where = {"image": str(ref.path), "picture": str(picture)}
                rows += _rows(where, detections, names)
        return _Drawn("images", "picture", len(refs) - len(skipped), rows, skipped)

    return draw


def _on_video(path: Path, output: Path, options: "InferenceOptions", out: Output) -> Work:
    """The same for a video: its frames are images that are read once and held until drawn on."""
    from detq.data.images import ImageRef
    from detq_eval.draw import draw_boxes
    from detq_eval.infer import infer
    from detq_eval.video import WRITTEN, open_video, written_video

    video = open_video(path)
    to = output / f"{path.stem}{WRITTEN}"
    _require_apart(path, output, {path: to})

    def draw(runner: "Runner") -> _Drawn:
        held: dict[int | str, Pixels] = {}
        rows: list[dict[str, Any]] = []
        count = 0

        def frames() -> Iterator[ImageRef]:
            for number, frame in enumerate(video.read()):
                held[number] = frame
                yield ImageRef(number, path)

        names = runner.detector.names
        with (
            written_video(to, video.rate) as write,
            out.progress("predict", video.frames) as on_step,
        ):
            for ref, detections in infer(
                runner, frames(), options, read=lambda ref: held[ref.id], on_step=on_step
            ):
                write(draw_boxes(held.pop(ref.id), detections, names))
                rows += _rows({"video": str(path), "frame": ref.id}, detections, names)
                count += 1
        if video.frames is not None and count < _WHOLE * video.frames:
            out.warn(f"{path}: {count} of {video.frames} frames could be read")
        return _Drawn("frames", "frame", count, rows, [])

    return draw


def _pictures(refs: "Sequence[ImageRef]", output: Path) -> dict[Path, Path]:
    """Image → annotated picture, below ``output`` as the images lie below their folder."""
    # Path.absolute keeps "..", which would lead out of the output.
    places = {ref.path: Path(os.path.abspath(ref.path)) for ref in refs}
    above = os.path.commonpath([place.parent for place in places.values()])
    return {path: output / _drawable(place.relative_to(above)) for path, place in places.items()}


def _drawable(picture: Path) -> Path:
    """With a suffix that OpenCV writes: a list may name pictures of any, .jfif or none at all."""
    known = picture.suffix.lower() in IMAGE_SUFFIXES
    return picture if known else picture.with_name(f"{picture.name}.jpg")


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
    where: Mapping[str, Any], found: "Detections", names: Sequence[str]
) -> list[dict[str, Any]]:
    return [
        {**where, "class": names[label], "score": score, "box_in_original": box}
        for box, score, label in zip(
            found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True
        )
    ]
