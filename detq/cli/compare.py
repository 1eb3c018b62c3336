"""``detq compare``."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from detq.cli.arguments import Output, print_table
from detq.cli.scoring import score_file
from detq.errors import InputError


def compare(
    *models: Path,
    data: Path,
    images: Path | None = None,
    backend: list[str] | None = None,
    count: int = 32,
    shrink: int = 0,
    threads: int | None = None,
    accuracy: bool = True,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Put files and engines side by side: raw outputs against the first, and accuracy of each.

    Example: detq compare float.onnx model.plain.onnx --backend torch --data val.json

    Args:
        models: ONNX files written by detq; each is run on each backend.
        data: Images and ground truth: COCO JSON or YOLO data.yaml; a folder with --no-accuracy.
        images: Folder of the images that a COCO JSON names.
        backend: torch, onnxruntime or openvino; may be given again.
        count: Images to compare raw outputs on.
        shrink: Pixels the long side stays below the input size.
        threads: Threads of the engine; the usable cores if not given.
        accuracy: Also score every one on all images.
        out: How the result is told.
    """
    from detq.recipe import Evaluation

    pairs = [(model, name) for model in models for name in backend or ["onnxruntime"]]
    if not pairs:
        raise InputError("no model to compare", hint="give one or more ONNX files")
    errors = _output_errors(pairs, data, images, count, shrink, threads, out)
    options = Evaluation(data=data, images=images, shrink=shrink, threads=threads)
    rows: list[dict[str, Any]] = []
    for (model, name), found in zip(pairs, errors, strict=True):
        scored = score_file(model, name, options, out) if accuracy else None
        rows.append({"file": str(model), "backend": name, "errors": found, "accuracy": scored})

    out.tell(rows, lambda: _show(rows))


def _output_errors(
    pairs: Sequence[tuple[Path, str]],
    data: Path,
    images: Path | None,
    count: int,
    shrink: int,
    threads: int | None,
    out: Output,
) -> list[Any]:
    from detq.data.images import choose_images, list_images, read_image
    from detq.data.letterbox import letterbox, network_input
    from detq_deploy.backends import open_runner
    from detq_eval.output_error import ErrorMeter

    refs = choose_images(list_images(data, images, split="val"), count, 0)
    meters = [ErrorMeter() for _ in pairs]
    with ExitStack() as stack:
        runners = [
            stack.enter_context(open_runner(name, model, threads=threads)) for model, name in pairs
        ]
        first = runners[0].detector
        for (model, _), runner in zip(pairs, runners, strict=True):
            if runner.detector.size != first.size:
                raise InputError(
                    f"takes images of {runner.detector.size}, the first of {first.size}",
                    where=str(model),
                    hint="compare models of one size",
                )
        on_step = stack.enter_context(out.progress("compare outputs", len(refs)))
        for done, ref in enumerate(refs, 1):
            boxed, _ = letterbox(read_image(ref.path), first.size, shrink=shrink)
            image = network_input([boxed] * (runners[0].batch or 1), first.preprocessing)
            wanted = runners[0](image)
            for meter, runner in zip(meters, runners, strict=True):
                meter.add(wanted, runner(image))
            on_step(done)
    return [meter.errors() for meter in meters]


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
    print_table("against the first", columns, table)
