"""``detq compare``."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from detq.cli.arguments import Backend, Count, Pixels
from detq.cli.output import Output, print_table
from detq.cli.scoring import score_file, show_agreement, warn_of_wrong_sums
from detq.errors import InputError
from detq.recipe import Evaluation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from detq.data.images import ImageRef
    from detq.detection import Detections
    from detq.runner import Runner
    from detq_eval.agreement import Agreement
    from detq_eval.output_error import OutputError

Pair = tuple[Path, str]  # model, backend


def compare(
    *models: Path,
    data: Path,
    images: Path | None = None,
    backend: list[Backend] | None = None,
    count: Count = 32,
    shrink: Pixels = 0,
    threads: Count | None = None,
    accuracy: bool = True,
    contract: Path | None = None,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Put files and engines side by side: outputs and boxes against the first, and accuracy.

    Without --no-accuracy the images need ground truth; outputs and boxes are compared without.

    Example: detq compare float.onnx model.plain.onnx --data val.json

    Example: detq compare a.onnx b.onnx --data images/ --no-accuracy

    Args:
        models: ONNX files written by detq, each run on each backend; TensorRT engines.
        data: Images and ground truth: COCO JSON or YOLO data.yaml; a folder with --no-accuracy.
        images: Folder of the images that a COCO JSON names.
        backend: Engine, onnxruntime if not given; may be given again.
        count: Images to compare raw outputs and boxes on.
        shrink: Pixels the long side stays below the input size.
        threads: Threads of the engine; the usable cores if not given.
        accuracy: Also score every one on all images.
        contract: ONNX file of detq that TensorRT engines without a side-car were built from.
        out: How the result is told.
    """
    from detq_deploy.backends import pairs_of

    pairs = pairs_of(models, backend or ())
    if not pairs:
        raise InputError("no model to compare", hint="give one or more ONNX files")
    if accuracy and data.is_dir():
        raise InputError(
            "a folder holds no ground truth",
            where=str(data),
            hint="give annotations, or --no-accuracy",
        )
    options = Evaluation(data=data, images=images, shrink=shrink, threads=threads)
    for model, name in () if accuracy else pairs:  # scoring says it itself
        warn_of_wrong_sums(model, name, out)
    compared = _compared(pairs, options, count, out, contract)
    rows = [
        {
            "file": str(model),
            "backend": name,
            "errors": errors,
            "agreement": boxes,
            "accuracy": score_file(
                model, name, options, out, contract=contract if name == "tensorrt" else None
            )
            if accuracy
            else None,
        }
        for (model, name), (errors, boxes) in zip(pairs, compared, strict=True)
    ]
    out.tell(rows, lambda: _show(rows))


def _compared(
    pairs: Sequence[Pair], options: Evaluation, count: int, out: Output, contract: Path | None
) -> "list[tuple[tuple[OutputError, ...], Agreement]]":
    """Raw outputs and boxes of every pair against the first's, on images without labels."""
    from detq.data.images import choose_images, list_images
    from detq_deploy.backends import open_runner
    from detq_eval.agreement import agreement
    from detq_eval.output_error import ErrorMeter

    refs = choose_images(list_images(options.data, options.images, split="val"), count, 0)
    meters = [ErrorMeter() for _ in pairs]
    boxes: list[list[tuple[ImageRef, Detections]]] = [[] for _ in pairs]
    with ExitStack() as stack:
        runners = [
            stack.enter_context(
                open_runner(
                    name,
                    model,
                    threads=options.threads,
                    contract=contract if name == "tensorrt" else None,
                )
            )
            for model, name in pairs
        ]
        _require_one_size(pairs, runners)
        on_step = stack.enter_context(out.progress("compare outputs", len(refs)))
        for done, ref in enumerate(refs, 1):
            results = [_outputs(runner, ref, options) for runner in runners]
            wanted, _ = results[0]
            for meter, known, (outputs, detections) in zip(meters, boxes, results, strict=True):
                meter.add(wanted, outputs)
                known.append((ref, detections))
            on_step(done)
    agreements = [agreement(boxes[0], known) for known in boxes]
    return [(meter.errors(), one) for meter, one in zip(meters, agreements, strict=True)]


def _require_one_size(pairs: Sequence[Pair], runners: "Sequence[Runner]") -> None:
    first = runners[0].detector.size
    for (model, _), runner in zip(pairs, runners, strict=True):
        if runner.detector.size != first:
            ours, theirs = ("x".join(map(str, s)) for s in (runner.detector.size, first))
            raise InputError(
                f"takes images of {ours}, the first of {theirs}",
                where=str(model),
                hint="compare models of one size",
            )


def _outputs(
    runner: "Runner", ref: "ImageRef", options: Evaluation
) -> "tuple[dict[str, NDArray[np.float32]], Detections]":
    """Outputs for one image, also where the batch is fixed to more, and its detections."""
    from detq.data.images import read_image
    from detq.data.letterbox import empty_input, letterbox, write_input
    from detq.detection import Detections
    from detq_eval.infer import InferenceOptions, found_in_output, suppress

    detector = runner.detector
    pad = detector.preprocessing.pad
    boxed, place = letterbox(read_image(ref.path), detector.size, shrink=options.shrink, pad=pad)
    batch = empty_input(detector, runner.batch or 1)
    for row in batch:
        write_input(boxed, detector, row)
    outputs = dict(runner(batch))
    found = found_in_output(outputs, detector, len(batch), runner.name)
    protocol = InferenceOptions(
        confidence=options.confidence, iou=options.iou, max_detections=options.max_detections
    )
    left = suppress(found[0], protocol)
    detections = Detections(place.boxes_in_original(left.boxes), left.scores, left.classes)
    if isinstance(found, list):  # boxes in the order of their scores compare with nothing
        return {}, detections
    outputs[next(iter(outputs))] = found
    return {name: array[:1] for name, array in outputs.items()}, detections


def _show(rows: Sequence[dict[str, Any]]) -> None:
    table = []
    for row in rows:
        ap = "" if row["accuracy"] is None else f"{row['accuracy']['AP']:.4f}"
        for index, error in enumerate(row["errors"]):
            name = f"{Path(row['file']).name} {row['backend']}" if index == 0 else ""
            share = error.largest / error.span if error.span else 0.0
            unit = f" {error.unit}" if error.unit else ""
            table.append(
                [name, error.output, f"{error.largest:.3g}{unit}", f"{error.mean:.3g}{unit}",
                 f"{share:.1e}", f"{error.snr_db:.1f}", ap if index == 0 else ""]
            )  # fmt: skip
    columns = ["model engine", "output", "largest error", "mean error", "of the range", "SNR dB",
               "AP"]  # fmt: skip
    print_table("raw outputs against the first", columns, table, words=["output"])
    compared = [
        ([f"{Path(row['file']).name} {row['backend']}"], msgspec.to_builtins(row["agreement"]))
        for row in rows[1:]
    ]
    show_agreement(compared, ["model engine"], "the first model")
