"""The order of the steps, and nothing else.

Each step takes what the one before left in the run folder and leaves a file there. What
lies above this layer (adapter, engines, evaluation) is handed in as ``Tools``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from detq.calibration import CalibrationImages, drawn_images, observe_images
from detq.data.images import list_images, sha256_of
from detq.graph.files import detector_from_metadata, load_model, save_model
from detq.model import FloatModel
from detq.placement import place
from detq.plan import placement_as_json
from detq.quantized import quantize
from detq.ranges import ESTIMATORS, choose_ranges
from detq.recipe import Evaluation, Recipe, recipe_as_json
from detq.run_dir import RunDir, Step, file_hash
from detq.stats import load_stats, save_stats
from detq.target import PLAIN, Target
from detq.whole_file import written_whole

Figures = Mapping[str, Any]

# Engine → the file that is made for it; any other engine runs the file of its own name.
FILE_FOR = {"torch": "plain"}


@dataclass(frozen=True)
class Tools:
    """What the packages above this one can do.

    Attributes:
        read_source: checkpoint and size → network with its branches apart.
        target_named: name → what the consumer can do on this machine.
        evaluate: model file, backend, options, file for the detections → figures.
        bench: model files by label, options → figures.
        say: told the title and length of each step; gives a callback for how many are done.
    """

    read_source: Callable[[Path, tuple[int, int]], FloatModel]
    target_named: Callable[[str], Target]
    evaluate: Callable[[Path, str, Evaluation, Path], Figures]
    bench: Callable[[Mapping[str, Path], Any], Figures]
    say: Callable[[str, int], Any]


def run(recipe: Recipe, folder: RunDir, tools: Tools) -> dict[str, Any]:
    """From checkpoint to figures; steps that were done from the same inputs are not repeated.

    Args:
        recipe: with absolute paths.
        folder: open run folder.
        tools: what lies above.

    Returns:
        The content of ``metrics.json``.
    """
    folder.write_manifest(msgspec.json.decode(recipe_as_json(recipe)))
    floated = _float_step(recipe, folder, tools)
    calibrated = _calibrate_step(recipe, folder, tools, floated)
    files = {"float": ("float.onnx", floated)}
    for name in recipe.targets:
        files[name] = _quantize_step(recipe, folder, tools, name, calibrated)
    accuracy = _evaluate_steps(recipe, folder, tools, files)
    speed = _bench_step(recipe, folder, tools, files)
    result = {
        "accuracy": accuracy,
        "speed": speed,
        "files": {name: file for name, (file, _) in files.items()},
        "warnings": list(_warnings(recipe, folder)),
    }
    _write_json(folder.path / "metrics.json", result)
    return result


def _float_step(recipe: Recipe, folder: RunDir, tools: Tools) -> Step:
    choices = _choices(recipe, "checkpoint", "size", "transforms", "batch")

    def work() -> None:
        from detq.dialects import write_float
        from detq.transforms import transform

        with tools.say("read and merge", 1):
            source = tools.read_source(recipe.checkpoint, recipe.size)
            save_model(write_float(source, batch=recipe.batch), folder.path / "source.onnx")
            merged = transform(source, recipe.transforms)
            written = write_float(merged, batch=recipe.batch, recipe=choices)
            save_model(written, folder.path / "float.onnx")

    inputs = {"checkpoint": file_hash(recipe.checkpoint), "choices": choices}
    return folder.step("float", work, inputs=inputs, outputs=["source.onnx", "float.onnx"])


def _choices(recipe: Recipe, *fields: str) -> str:
    """Some fields of a recipe as JSON, for the file they made."""
    chosen = {field: getattr(recipe, field) for field in fields}
    return msgspec.json.encode(chosen, enc_hook=str).decode()


def _calibrate_step(recipe: Recipe, folder: RunDir, tools: Tools, floated: Step) -> Step:
    refs = drawn_images(recipe.calibration)

    def work() -> None:
        model = _load_float(folder)
        values = _values_to_observe(model, recipe)
        with tools.say("observe", len(refs)) as on_step:
            stats, images = observe_images(model, values, refs, recipe.calibration, on_step)
        save_stats(stats, folder.path / "stats.npz")
        _write_json(folder.path / "calibration.json", images)

    inputs = {
        "choices": _choices(recipe, "calibration", "float_layers"),
        "images": [[ref.id, sha256_of(ref.path)] for ref in refs],
    }
    return folder.step(
        "calibrate", work, inputs=inputs, outputs=["stats.npz", "calibration.json"], after=[floated]
    )


def _values_to_observe(model: FloatModel, recipe: Recipe) -> set[str]:
    """The points of every target; float layers may move a residual's skip side."""
    placements = (place(model, PLAIN), place(model, PLAIN, recipe.float_layers))
    return {point.value for placement in placements for point in placement.points}


def _quantize_step(
    recipe: Recipe, folder: RunDir, tools: Tools, name: str, calibrated: Step
) -> tuple[str, Step]:
    target = tools.target_named(name)
    made_by = set(recipe.__struct_fields__) - {"targets", "evaluation", "bench"}
    choices = _choices(recipe, *sorted(made_by))
    file, plan = f"model.{name}.onnx", f"placement.{name}.json"

    def work() -> None:
        from detq.dialects import write_quantized

        with tools.say(f"quantize for {name}", 1):
            model = _load_float(folder)
            placement = place(model, target, recipe.float_layers)
            stats = load_stats(folder.path / "stats.npz")
            estimate = ESTIMATORS[msgspec.to_builtins(recipe.range)["method"]]
            quantized = quantize(model, placement, choose_ranges(stats, placement, estimate))
            written = write_quantized(quantized, target, batch=recipe.batch, recipe=choices)
            _write_bytes(folder.path / plan, placement_as_json(placement))
            save_model(written, folder.path / file)

    inputs = {
        "choices": choices,
        "target": [target.name, target.unsigned_activations, target.weights.bits, target.note],
    }
    step = folder.step(
        f"quantize.{name}", work, inputs=inputs, outputs=[file, plan], after=[calibrated]
    )
    return file, step


def _evaluate_steps(
    recipe: Recipe, folder: RunDir, tools: Tools, files: Mapping[str, tuple[str, Step]]
) -> dict[str, Any]:
    options = recipe.evaluation
    if options is None:
        return {}
    found: dict[str, Any] = {}
    for backend in options.backends:
        for label in ("float", FILE_FOR.get(backend, backend)):
            if label in files:
                file, made = files[label]
                found[f"{label} {backend}"] = _evaluate_step(
                    folder, tools, options, (label, file, backend), made
                )
    return found


def _evaluate_step(
    folder: RunDir, tools: Tools, options: Evaluation, what: tuple[str, str, str], made: Step
) -> Figures:
    label, file, backend = what
    figures, boxes = f"metrics.{label}.{backend}.json", f"detections.{label}.{backend}.json"

    def work() -> None:
        found = tools.evaluate(folder.path / file, backend, options, folder.path / boxes)
        _write_json(folder.path / figures, found)

    images = list_images(options.data, options.images, split="val")
    inputs = {
        "evaluation": msgspec.to_builtins(options, enc_hook=str),
        "backend": backend,
        "truth": file_hash(options.data),
        "images": [[ref.id, ref.path.stat().st_size] for ref in images],
    }
    folder.step(f"evaluate.{label}.{backend}", work, inputs=inputs, outputs=[figures, boxes],
                after=[made])  # fmt: skip
    content: Figures = msgspec.json.decode((folder.path / figures).read_bytes())
    return content


def _bench_step(
    recipe: Recipe, folder: RunDir, tools: Tools, files: Mapping[str, tuple[str, Step]]
) -> Figures:
    options = recipe.bench
    if options is None:
        return {}
    labels = ["float", FILE_FOR.get(options.backend, options.backend)]
    timed = {label: folder.path / files[label][0] for label in labels if label in files}

    def work() -> None:
        _write_json(folder.path / "speed.json", tools.bench(timed, options))

    inputs = {"bench": msgspec.to_builtins(options)}
    after = [files[label][1] for label in timed]
    folder.step("bench", work, inputs=inputs, outputs=["speed.json"], after=after)
    content: Figures = msgspec.json.decode((folder.path / "speed.json").read_bytes())
    return content


def _warnings(recipe: Recipe, folder: RunDir) -> Iterator[str]:
    images = msgspec.json.decode(
        (folder.path / "calibration.json").read_bytes(), type=CalibrationImages
    )
    if images.skipped:
        names = ", ".join(f"{path} {reason}" for path, reason in images.skipped[:3])
        yield f"{len(images.skipped)} calibration images were skipped: {names}"
    if len(images.used) < recipe.calibration.count:
        yield f"{len(images.used)} calibration images, {recipe.calibration.count} were asked for"
    if recipe.evaluation is not None:
        shared = _seen_before(images, recipe.evaluation)
        if shared:
            yield (
                f"{len(shared)} of {len(images.used)} calibration images are evaluated on too, "
                f"so the accuracy flatters: {', '.join(shared[:3])}"
            )


def _seen_before(images: CalibrationImages, evaluation: Evaluation) -> list[str]:
    """Calibration images whose bytes are in the evaluation set; sizes first, hashes then."""
    hashes = {image.sha256 for image in images.used}
    sizes = {Path(image.path).stat().st_size for image in images.used}
    refs = list_images(evaluation.data, evaluation.images, split="val")
    alike = (ref for ref in refs if ref.path.stat().st_size in sizes)
    return [str(ref.path) for ref in alike if sha256_of(ref.path) in hashes]


def _load_float(folder: RunDir) -> FloatModel:
    path = folder.path / "float.onnx"
    model = load_model(path)
    return FloatModel(model, detector_from_metadata(model.metadata_props, str(path)))


def _write_json(path: Path, value: object) -> None:
    text = msgspec.json.encode(value, enc_hook=str)
    _write_bytes(path, msgspec.json.format(text, indent=1) + b"\n")


def _write_bytes(path: Path, content: bytes) -> None:
    with written_whole(path) as temporary:
        temporary.write_bytes(content)
