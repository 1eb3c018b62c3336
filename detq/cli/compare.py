"""``detq compare``."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detq.cli.arguments import Backend, Count, Pixels
from detq.cli.output import Output, print_table
from detq.cli.scoring import score_file
from detq.errors import InputError
from detq.recipe import Evaluation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from detq.data.images import ImageRef
    from detq.runner import Runner
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
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Put files and engines side by side: raw outputs against the first, and accuracy of each.

    Example: detq compare float.onnx model.plain.onnx --backend torch --data val.json

    Args:
        models: ONNX files written by detq; each is run on each backend.
        data: Images and ground truth: COCO JSON or YOLO data.yaml; a folder with --no-accuracy.
        images: Folder of the images that a COCO JSON names.
        backend: Engine, onnxruntime if not given; may be given again.
        count: Images to compare raw outputs on.
        shrink: Pixels the long side stays below the input size.
        threads: Threads of the engine; the usable cores if not given.
        accuracy: Also score every one on all images.
        out: How the result is told.
    """
    pairs = [(model, name) for model in models for name in backend or ["onnxruntime"]]
    if not pairs:
        raise InputError("no model to compare", hint="give one or more ONNX files")
    if accuracy and data.is_dir():
        raise InputError(
            "a folder holds no ground truth",
            where=str(data),
            hint="give annotations, or --no-accuracy",
        )
    options = Evaluation(data=data, images=images, shrink=shrink, threads=threads)
    errors = _output_errors(pairs, options, count, out)
    rows = [
        {
            "file": str(model),
            "backend": name,
            "errors": found,
            "accuracy": score_file(model, name, options, out) if accuracy else None,
        }
        for (model, name), found in zip(pairs, errors, strict=True)
    ]
    out.tell(rows, lambda: _show(rows))


def _output_errors(
    pairs: Sequence[Pair], options: Evaluation, count: int, out: Output
) -> "list[tuple[OutputError, ...]]":
    from detq.data.images import choose_images, list_images
    from detq_deploy.backends import open_runner
    from detq_eval.output_error import ErrorMeter

    refs = choose_images(list_images(options.data, options.images, split="val"), count, 0)
    meters = [ErrorMeter() for _ in pairs]
    with ExitStack() as stack:
        runners = [
            stack.enter_context(open_runner(name, model, threads=options.threads))
            for model, name in pairs
        ]
        _require_one_size(pairs, runners)
        on_step = stack.enter_context(out.progress("compare outputs", len(refs)))
        for done, ref in enumerate(refs, 1):
            outputs = [_outputs(runner, ref, options.shrink) for runner in runners]
            for meter, found in zip(meters, outputs, strict=True):
                meter.add(outputs[0], found)
            on_step(done)
    return [meter.errors() for meter in meters]


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


def _outputs(runner: "Runner", ref: "ImageRef", shrink: int) -> "dict[str, NDArray[np.float32]]":
    """Outputs for one image, also where the batch is fixed to more; boxes as rows."""
    from detq.data.images import read_image
    from detq.data.letterbox import letterbox, network_input
    from detq.detection import rows_of_output

    detector = runner.detector
    pad = detector.preprocessing.pad
    boxed, _ = letterbox(read_image(ref.path), detector.size, shrink=shrink, pad=pad)
    batch = network_input([boxed] * (runner.batch or 1), detector.preprocessing)
    outputs = dict(runner(batch))
    first, boxes = next(iter(outputs.items()))
    if detector.layout == "channels" or boxes.shape[-1] == 4 + len(detector.names):
        outputs[first] = rows_of_output(boxes, detector, len(batch), runner.name)
    return {name: array[:1] for name, array in outputs.items()}


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
                 f"{share:.1e}", ap if index == 0 else ""]
            )  # fmt: skip
    columns = ["model engine", "output", "largest error", "mean error", "of the range", "AP"]
    print_table("raw outputs against the first", columns, table, words=["output"])
