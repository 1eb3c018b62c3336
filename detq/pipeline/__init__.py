"""The order of the steps, and nothing else.

Each step takes what the ones before left in the run folder and leaves files there. What
lies above this layer (adapter, engines, evaluation) is handed in as ``Tools``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from detq.kernel_split import KernelSplits
from detq.pipeline.cautions import cautions
from detq.pipeline.even import even_out, one_scale_for_norms
from detq.pipeline.explain import explain_layers, gather_pictures
from detq.pipeline.make import Observed, calibrate, make_float, quantize_for
from detq.pipeline.measure import (
    FLOAT_LABEL,
    Scored,
    check_truth,
    evaluate,
    evaluations,
    time_models,
)
from detq.pipeline.progress import METRICS, REPORT, Made, Run
from detq.pipeline.split import split_kernels, weight_bits
from detq.pipeline.subject import subject
from detq.pipeline.tools import Figures, Tools
from detq.recipe import Recipe
from detq.recipe_file import recipe_as_json
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
    way = Run(recipe, folder, tools, _number_of_steps(recipe, tools))
    folder.write_manifest(msgspec.json.decode(recipe_as_json(recipe)))
    floated = make_float(way)
    truth = check_truth(way, floated)
    quantized, ready = quantize_all(way, floated)
    made = {"float": floated, **quantized}
    scored: dict[str, Scored] = {}
    for label, backend in evaluations(recipe):
        of_float = scored.get(f"{FLOAT_LABEL} {backend}")
        found = evaluate(way, label, backend, made[label], truth, of_float)
        scored[f"{label} {backend}"] = found
    accuracy = {key: found.figures for key, found in scored.items()}
    label, backend = subject(recipe)
    speed = time_models(way, made)
    explain_layers(way, label, made[label], ready[label])
    if backend and truth is not None:
        of_float, of_int8 = (scored[f"{name} {backend}"] for name in (FLOAT_LABEL, label))
        gather_pictures(way, label, backend, of_float, of_int8, truth)
    figures = {
        "subject": {"label": label, "backend": backend},
        "accuracy": accuracy,
        "speed": speed,
        "files": {label: model.file for label, model in made.items()},
        "layers": {label: _layers(way, model) for label, model in made.items() if model.plan},
        "boundaries": {
            label: _boundaries(way, model) for label, model in made.items() if model.plan
        },
        "learned": {label: _learned(way, model) for label, model in made.items() if model.learned},
        "coarse_fine": {
            label: _splits(way, ready[label]) for label in ready if ready[label].splits
        },
        "warnings": list(cautions(recipe, folder, accuracy)),
    }
    way.write_json(METRICS, figures)
    way.write_bytes(REPORT, tools.report(folder.path).encode())
    return Outcome(figures, tuple(way.taken))


def quantize_all(way: Run, floated: Made) -> tuple[dict[str, Made], Mapping[str, Observed]]:
    """From the float model to a quantized one for every target; nothing is measured.

    Returns:
        By target: the quantized model, and what it was made from.
    """
    calibrated = calibrate(way, floated.step)
    ready = split_kernels(way, one_scale_for_norms(way, even_out(way, calibrated)))
    return {name: quantize_for(way, name, ready[name]) for name in ready}, ready


def _number_of_steps(recipe: Recipe, tools: Tools) -> int:
    optional = [recipe.channel_wise, recipe.evaluation, recipe.bench]
    sections = sum(section is not None for section in optional)
    pictures = bool(subject(recipe)[1])
    splits = len(set(weight_bits(recipe, tools).values()))
    norms = recipe.repquant is not None and recipe.repquant.layer_norm
    made = norms + splits + len(set(recipe.targets))
    return 3 + pictures + sections + made + len(evaluations(recipe))


def _layers(way: Run, model: Made) -> dict[str, int]:
    """How many of the layers with weights became INT8."""
    layers = way.read_json(model.plan)["layers"]
    return {"int8": sum(layer["int8"] for layer in layers), "all": len(layers)}


def _boundaries(way: Run, model: Made) -> dict[str, int]:
    """How many tensors change type on their way, as predicted from the graph."""
    found = way.read_json(model.answers)["boundaries"]
    into = sum(crossing["to_int8"] for crossing in found["crossings"])
    return {"into_int8": into, "out": len(found["crossings"]) - into, "islands": found["islands"]}


def _learned(way: Run, model: Made) -> list[Figures]:
    """What each learner did; the losses of its units stay in the record."""
    outcomes = way.read_json(model.learned)
    return [{key: x for key, x in one.items() if key != "losses"} for one in outcomes]


def _splits(way: Run, ready: Observed) -> Figures:
    """How many kernels were split, and what that costs."""
    record = msgspec.json.decode(way.path(ready.splits).read_bytes(), type=KernelSplits)
    share = (
        record.extra_macs / record.macs if record.macs and record.extra_macs is not None else None
    )
    return {
        "file": ready.splits,
        "split": len(record.layers),
        "kernels": len(record.kernels),
        "extra_macs_share": share,
    }
