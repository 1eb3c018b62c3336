"""The steps that measure models: ground truth, accuracy, speed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from detq.data.images import ImageRef, list_images
from detq.pipeline.progress import Made, Run
from detq.pipeline.tools import Figures
from detq.recipe import Recipe
from detq.run_dir import Step, file_hash, key_of

# Engine → the file that is made for it; any other engine runs the file of its own name.
FILE_FOR = {"torch": "plain"}
TRUTH, SPEED = "truth.json", "speed.json"
FLOAT_LABEL = "float"


def evaluations(recipe: Recipe) -> list[tuple[str, str]]:
    """Label of the model and backend of every measurement of accuracy, in their order."""
    if recipe.evaluation is None:
        return []
    backends = dict.fromkeys(recipe.evaluation.backends)
    pairs = [(label, b) for b in backends for label in (FLOAT_LABEL, FILE_FOR.get(b, b))]
    return [(label, b) for label, b in pairs if label in (FLOAT_LABEL, *recipe.targets)]


def check_truth(run: Run, floated: Made) -> Step | None:
    """What is in the ground truth; before the long steps, so that a wrong file costs nothing."""
    options = run.recipe.evaluation
    if options is None:
        return None

    def work() -> None:
        names = run.float_model().detector.names
        run.write_json(TRUTH, run.tools.read_truth(options, names))

    images = list_images(options.data, options.images, split="val")
    inputs = truth_inputs(run.tools.truth_files(options), images)
    title = f"read the boxes of {len(images)} images"
    return run.step("truth", title, work, inputs=inputs, outputs=[TRUTH], after=[floated.step])


def truth_inputs(files: Iterable[Path], images: Sequence[ImageRef]) -> dict[str, object]:
    """What says which ground truth and which images a figure was taken on.

    Args:
        files: that hold ground truth.
        images: of the data set.
    """
    return {"files": [file_hash(file) for file in files], "images": listed_key(images)}


def listed_key(images: Sequence[ImageRef]) -> str:
    """Which images there are, by names and sizes: to read a large set takes more than is saved."""
    return key_of([[ref.id, ref.path.name, ref.path.stat().st_size] for ref in images])


@dataclass(frozen=True, slots=True)
class Scored:
    """A model on an engine.

    Attributes:
        figures: its accuracy.
        boxes: name of the file of its detections.
        step: that left both.
    """

    figures: Figures
    boxes: str
    step: Step


def evaluate(
    run: Run,
    label: str,
    backend: str,
    model: Made,
    truth: Step | None,
    reference: Scored | None = None,
) -> Scored:
    """Accuracy of one model on one engine, and how far it agrees with ``reference``."""
    options = run.recipe.evaluation
    if options is None or truth is None:
        raise AssertionError("nothing to evaluate on")
    figures, boxes = f"metrics.{label}.{backend}.json", f"detections.{label}.{backend}.json"

    def work() -> None:
        float_boxes = None if reference is None else run.path(reference.boxes)
        file = run.path(model.file)
        found = run.tools.evaluate(file, backend, options, run.path(boxes), float_boxes)
        run.write_json(figures, found)

    # Which other engines are measured does not matter here, and the images are the truth's.
    elsewhere = ("data", "images", "backends")
    protocol = msgspec.structs.asdict(options)
    inputs = {
        "protocol": {key: value for key, value in protocol.items() if key not in elsewhere},
        "engine": run.tools.engine_here(backend),
    }
    step = run.step(
        f"evaluate.{label}.{backend}",
        f"score {model.file} in {backend}",
        work,
        inputs=inputs,
        outputs=[figures, boxes],
        after=[model.step, truth, *([] if reference is None else [reference.step])],
    )
    return Scored(run.read_json(figures), boxes, step)


def time_models(run: Run, made: Mapping[str, Made]) -> Figures:
    """Speed of the float model and of the one made for the engine, taken in turn."""
    options = run.recipe.bench
    if options is None:
        return {}
    labels = [FLOAT_LABEL, FILE_FOR.get(options.backend, options.backend)]
    timed = {label: made[label] for label in labels if label in made}

    def work() -> None:
        files = {label: run.path(model.file) for label, model in timed.items()}
        run.write_json(SPEED, run.tools.bench(files, options))

    inputs = {
        "bench": msgspec.to_builtins(options),
        "engine": run.tools.engine_here(options.backend),
    }
    run.step(
        "bench",
        f"time {' and '.join(model.file for model in timed.values())} in {options.backend}",
        work,
        inputs=inputs,
        outputs=[SPEED],
        after=[model.step for model in timed.values()],
    )
    found: Figures = run.read_json(SPEED)
    return found
