"""A file on an engine against a dataset, as figures."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from detq.cli.output import Output, print_table
from detq.recipe import Evaluation

if TYPE_CHECKING:
    from detq.runner import Runner
    from detq_eval.evaluate import Evaluation as Evaluated

    Evaluate = Callable[..., Evaluated]

# COCO's own names of its twelve figures → field of CocoMetrics.
METRICS = {
    "AP": "ap", "AP50": "ap50", "AP75": "ap75",
    "APsmall": "ap_small", "APmedium": "ap_medium", "APlarge": "ap_large",
    "AR1": "ar1", "AR10": "ar10", "AR100": "ar100",
    "ARsmall": "ar_small", "ARmedium": "ar_medium", "ARlarge": "ar_large",
}  # fmt: skip


def score_file(
    file: Path,
    backend: str,
    options: Evaluation,
    out: Output,
    boxes: Path | None = None,
    reference: Path | None = None,
    contract: Path | None = None,
    evaluate_by: "Evaluate | None" = None,
    on: str | None = None,
) -> dict[str, Any]:
    """Evaluate one model file.

    Args:
        file: ONNX file written by detq, or an engine.
        backend: engine.
        options: dataset and protocol.
        out: shows the progress.
        boxes: file for the detections in COCO's form, or None.
        reference: file that holds another model's, to compare them with; needs ``boxes``.
        contract: ONNX file that says what an engine without a side-car detects.
        evaluate_by: how the images go through the engine; one after the other here if None.
        on: device that the engine runs on, as ``user@host``; here if None.

    Returns:
        The keys of ``METRICS`` (0 to 1, -1 where the truth has nothing of the kind),
        ``per_class``, ``matched_by`` (name or order of the classes), ``protocol``, ``file``,
        ``engine``, ``isa``, ``images``, ``skipped``, ``seconds``, ``images_per_second``, and
        ``agreement`` with the reference.
    """
    from detq_deploy.cpu import cpu_features
    from detq_eval.coco_rows import detections_as_coco
    from detq_eval.dataset import read_dataset
    from detq_eval.evaluate import evaluate

    with _opened(file, backend, options, contract, on, out) as runner:
        warn_of_runner(runner, out)
        dataset = read_dataset(options.data, options.images, names=runner.detector.names)
        with out.progress(f"evaluate {file.name} in {backend}", len(dataset.images)) as on_step:
            found = (evaluate_by or evaluate)(
                runner, dataset, _protocol(options), on_step=lambda done, total: on_step(done)
            )
        engine = runner.name
        isa = getattr(runner, "isa", "") or cpu_features().isa_label  # of the GPU, if on one
    if boxes is not None:
        write_json(boxes, detections_as_coco(found.found, dataset.classes))
    figures = {name: getattr(found.metrics, field) for name, field in METRICS.items()}
    return figures | {
        "per_class": dict(found.metrics.per_class),
        "matched_by": dataset.classes.matched_by,
        "protocol": found.protocol,
        "file": file.name,
        "engine": engine,
        "isa": isa,
        "images": len(found.found),
        "skipped": [f"{ref.path} {reason}" for ref, reason in found.skipped],
        "seconds": found.seconds,
        "images_per_second": found.images_per_second,
        **_agreement(reference, boxes),
    }


def _opened(
    file: Path,
    backend: str,
    options: Evaluation,
    contract: Path | None,
    on: str | None,
    out: Output,
) -> "Runner":
    if on is not None:
        from detq_deploy.remote.host import host_from
        from detq_deploy.remote.serving import RemoteRunner

        return RemoteRunner(
            host_from(on), file, backend=backend, contract=contract, above=options.confidence
        )
    from detq_deploy.backends import open_runner

    warn_of_wrong_sums(file, backend, out)
    return open_runner(backend, file, threads=options.threads, busy_cores=True, contract=contract)


def warn_of_wrong_sums(file: Path, backend: str, out: Output) -> None:
    """Tell where the engine here cannot add up the file's products."""
    from detq_deploy.wrong_sums import cautions

    for caution in cautions(file, backend):
        out.warn(caution)


def warn_of_runner(runner: "Runner", out: Output) -> None:
    """Tell what an engine that was built elsewhere may do differently here."""
    caution = getattr(runner, "caution", "")
    if caution:
        out.warn(caution)


def warn_of_order(found: Mapping[str, Any], out: Output) -> None:
    """Tell where names of classes do not say which is which, so that their order decided."""
    if found["matched_by"] == "order" and len(found["per_class"]) > 1:
        names = list(found["per_class"])
        first = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        out.warn(
            "the data names its classes otherwise than the model, so they were matched by their "
            f"order; the model's are {first}"
        )


def _agreement(reference: Path | None, boxes: Path | None) -> dict[str, Any]:
    from detq_eval.agreement import agreement_of_files

    if reference is None or boxes is None:
        return {}
    return {"agreement": msgspec.to_builtins(agreement_of_files(reference, boxes))}


def show_agreement(
    rows: Sequence[tuple[Sequence[str], Mapping[str, Any]]],
    heads: Sequence[str],
    reference: str = "the float model",
) -> None:
    """A table of agreements for a person; nothing where there is none.

    Args:
        rows: words that say what was compared, and the agreement.
        heads: titles of the words' columns.
        reference: with what, for the title.
    """
    if not rows:
        return
    table = []
    for words, found in rows:
        sizes = (found["by_size"][size]["ap"] for size in ("small", "medium", "large"))
        table.append(
            [
                *words,
                f"{found['ap']:.4f}",
                *("" if ap < 0 else f"{ap:.4f}" for ap in sizes),
                *(str(found[key]) for key in ("boxes", "missed", "invented")),
                f"{found['score_shift']:+.4f}",
            ]
        )
    columns = [
        *heads, "AP", "small", "medium", "large", "boxes", "missed", "invented", "score shift",
    ]  # fmt: skip
    title = f"agreement with {reference}, its boxes above score {rows[0][1]['confidence']:g}"
    print_table(title, columns, table, words=heads)


def _protocol(options: Evaluation) -> Any:
    from detq_eval.infer import InferenceOptions

    return InferenceOptions(
        confidence=options.confidence,
        iou=options.iou,
        max_detections=options.max_detections,
        shrink=options.shrink,
        skip_bad_images=options.skip_bad_images,
    )


def truth_files(options: Evaluation) -> Sequence[Path]:
    """Every file that holds ground truth: the annotations, and label files of a data.yaml."""
    from detq.data.images import list_images
    from detq_eval.yolo_truth import label_path

    if options.data.suffix.lower() == ".json":
        return (options.data,)
    labels = (label_path(ref.path) for ref in list_images(options.data, split="val"))
    return (options.data, *(file for file in labels if file.is_file()))


def read_truth(options: Evaluation, names: Sequence[str]) -> dict[str, Any]:
    """What the ground truth holds, and which category each class of the model is.

    Raises:
        DatasetError: it cannot be read, has no boxes, or is for another number of classes.
    """
    from detq_eval.dataset import read_dataset

    found = read_dataset(options.data, options.images, names=names)
    return {
        "images": len(found.images),
        "boxes": len(found.truth),
        "classes": list(zip(found.classes.names, found.classes.category_ids, strict=True)),
        "matched_by": found.classes.matched_by,
    }


def write_json(path: Path, rows: object) -> None:
    """A JSON file, whole or not at all."""
    from detq.whole_file import written_whole

    with written_whole(path) as temporary:
        temporary.write_bytes(msgspec.json.encode(rows))
