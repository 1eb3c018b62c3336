"""The order of the steps, and nothing else.

Each step takes what the ones before left in the run folder and leaves files there. What
lies above this layer (adapter, engines, evaluation) is handed in as ``Tools``.
"""

from dataclasses import dataclass

import msgspec

from detq.pipeline.cautions import cautions
from detq.pipeline.make import calibrate, even_out, make_float, quantize_for
from detq.pipeline.measure import check_truth, evaluate, evaluations, time_models
from detq.pipeline.progress import METRICS, Made, Run
from detq.pipeline.tools import Figures, Tools
from detq.recipe import Recipe, recipe_as_json
from detq.run_dir import RunDir, Step

__all__ = ["Outcome", "Tools", "run"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left.

    Attributes:
        figures: the content of ``metrics.json``.
        steps: in their order; ``reused`` says which were done before.
    """

    figures: Figures
    steps: tuple[Step, ...]


def run(recipe: Recipe, folder: RunDir, tools: Tools) -> Outcome:
    """From checkpoint to figures; steps that were done from the same inputs are not repeated.

    Args:
        recipe: with absolute paths.
        folder: open run folder.
        tools: what lies above.

    Raises:
        DetqError: whatever a step finds wrong; the steps before it are kept.
    """
    way = Run(recipe, folder, tools, _number_of_steps(recipe))
    folder.write_manifest(msgspec.json.decode(recipe_as_json(recipe)))
    floated = make_float(way)
    truth = check_truth(way, floated)
    calibrated = calibrate(way, floated.step)
    observed = even_out(way, calibrated)
    made = {"float": floated}
    for target in dict.fromkeys(recipe.targets):
        made[target] = quantize_for(way, target, observed)
    accuracy = {
        f"{label} {backend}": evaluate(way, label, backend, made[label], truth)
        for label, backend in evaluations(recipe)
    }
    figures = {
        "accuracy": accuracy,
        "speed": time_models(way, made),
        "files": {label: model.file for label, model in made.items()},
        "layers": {label: _layers(way, model) for label, model in made.items() if model.plan},
        "warnings": list(cautions(recipe, folder, accuracy)),
    }
    way.write_json(METRICS, figures)
    return Outcome(figures, tuple(way.taken))


def _number_of_steps(recipe: Recipe) -> int:
    optional = [recipe.channel_wise, recipe.evaluation, recipe.bench]
    sections = sum(section is not None for section in optional)
    return 2 + sections + len(set(recipe.targets)) + len(evaluations(recipe))


def _layers(way: Run, model: Made) -> dict[str, int]:
    """How many of the layers with weights became INT8."""
    layers = way.read_json(model.plan)["layers"]
    return {"int8": sum(layer["int8"] for layer in layers), "all": len(layers)}
