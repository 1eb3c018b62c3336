"""What ``detq tune`` measures with: engines, boxes, labels, clocks and profiles."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from detq.cli.output import Output
from detq.errors import InputError, RecipeError
from detq.recipe import Bench, Recipe
from detq.recipe_file import changed_recipe
from detq.run_dir import file_hash
from detq.tune.costs import Costs, costs_by_macs, costs_from_profile, costs_from_totals

if TYPE_CHECKING:
    from detq.data.images import ImageRef
    from detq.detection import Detections
    from detq.model import FloatModel
    from detq.pipeline.candidates import CostsOf, Measures
    from detq.pipeline.sensitivity import Boxes
    from detq.pipeline.tools import Tools
    from detq.runner import Runner
    from detq.tune.budget import Budget

    Found = list[tuple[ImageRef, Detections]]


def engine_of(recipe: Recipe, engine: str | None) -> tuple[str, str]:
    """Label of the file and engine that a recipe is tuned for.

    The engine asked for, else the one that the recipe times, else the one its report is about,
    else the simulation.

    Raises:
        InputError: it runs no ONNX files, which candidates are.
    """
    from detq.pipeline.measure import FILE_FOR
    from detq.pipeline.subject import subject

    timed = recipe.bench.backend if recipe.bench is not None else ""
    backend = engine or timed or subject(recipe)[1] or "torch"
    if backend == "tensorrt":
        raise InputError(
            "candidates are ONNX files, and TensorRT runs engines",
            where="--engine tensorrt" if engine else "$.bench.backend",
            hint="--engine torch, with --latency-profile of the device where time counts",
        )
    return FILE_FOR.get(backend, backend), backend


def tuned_recipe(recipe: Recipe, label: str, backend: str) -> Recipe:
    """The start: one target, scored and timed on one engine.

    Raises:
        RecipeError: it has a part that cannot be looked at layer by layer.
    """
    if recipe.repquant is not None:
        raise RecipeError(
            "transformer blocks are not tuned", where="$.repquant", hint="set it to null"
        )
    evaluation, bench = recipe.evaluation, recipe.bench
    if evaluation is not None:
        evaluation = msgspec.structs.replace(evaluation, backends=(backend,))
    if bench is not None:
        bench = msgspec.structs.replace(bench, backend=backend)
    return changed_recipe(
        recipe, f"$.targets: [{label}]", targets=(label,), evaluation=evaluation, bench=bench
    )


def boxes_for(recipe: Recipe, images: int, out: Output) -> "Boxes":
    """Agreement on images of the evaluation, else the calibration; labels are not read."""
    from detq.calibration import drawn_images
    from detq.data.images import list_images
    from detq.pipeline.measure import listed_key
    from detq.pipeline.sensitivity import Boxes
    from detq_eval.agreement import agreement
    from detq_eval.infer import InferenceOptions, infer

    given = recipe.evaluation
    options = InferenceOptions(shrink=recipe.calibration.shrink, skip_bad_images=True)
    if given is None:
        refs = drawn_images(recipe.calibration)[:images]
    else:
        refs = list_images(given.data, given.images, split="val")[:images]
        options = InferenceOptions(
            confidence=given.confidence,
            iou=given.iou,
            max_detections=given.max_detections,
            shrink=given.shrink,
            skip_bad_images=True,
        )

    def detect(runner: "Runner") -> "Found":
        with out.progress("compare boxes", len(refs)) as on_step:
            return list(infer(runner, refs, options, on_step=on_step))

    def agree(wanted: "Found", got: "Found") -> float:
        ap = agreement(wanted, got).ap
        if ap < 0:
            raise InputError(
                f"the float model finds nothing on {len(refs)} images",
                where=str(refs[0].path.parent),
                hint="give images of what it was trained for",
            )
        return ap

    return Boxes(detect, agree, [options, listed_key(refs)])


def measures_for(
    recipe: Recipe,
    backend: str,
    images: int,
    tools: "Tools",
    timed: bool,
    profile: Path | None,
    out: Output,
) -> "Measures":
    """How files are judged on an engine.

    Args:
        recipe: the start.
        backend: the engine.
        images: to compare boxes on.
        tools: of the pipeline.
        timed: measure latency too.
        profile: file that latency is predicted from; None if there is none.
        out: shows progress.
    """
    from detq.pipeline.candidates import Measures
    from detq_deploy.backends import open_runner

    evaluation, bench = recipe.evaluation, recipe.bench or Bench(backend=backend)
    threads = evaluation.threads if evaluation is not None else None

    def opened(file: Path) -> "AbstractContextManager[Runner]":
        return open_runner(backend, file, threads=threads, busy_cores=True)

    def ap(file: Path) -> float:
        from detq.cli.scoring import score_file

        assert evaluation is not None
        return float(score_file(file, backend, evaluation, out)["AP"])

    def latency(files: Mapping[str, Path]) -> dict[str, float]:
        timings = tools.bench(files, bench)["timings"]
        return {label: float(one["wall_ms"]["median"]) for label, one in timings.items()}

    return Measures(
        open=opened,
        boxes=boxes_for(recipe, images, out),
        ap=ap if evaluation is not None else None,
        latency=latency if timed else None,
        of={
            "engine": tools.engine_here(backend),
            "images": images,
            "bench": bench if timed else None,
            "profile": None if profile is None else file_hash(profile),
            "accuracy": _protocol(recipe, tools),
        },
    )


def _protocol(recipe: Recipe, tools: "Tools") -> Any:
    """What the accuracy of a file depends on beside the file."""
    from detq.data.images import list_images
    from detq.pipeline.measure import truth_inputs

    given = recipe.evaluation
    if given is None:
        return None
    refs = list_images(given.data, given.images, split="val")
    return [given, truth_inputs(tools.truth_files(given), refs)]


def costs_for(
    recipe: Recipe, profile: Path | None, label: str, budget: "Budget | None" = None
) -> "CostsOf":
    """What layers cost in float: from a profile, the total times, or multiplications.

    Args:
        recipe: the start.
        profile: file of another device; None to go by times here, or by multiplications.
        label: name of the engine that is timed here.
        budget: what the costs have to be enough for.

    Raises:
        InputError: the profile cannot be read, is for another size, or does not tell what the
            budget needs.
    """
    if profile is None:
        return lambda model, int8, times: (
            costs_by_macs(model) if times is None else costs_from_totals(model, int8, *times, label)
        )
    from detq_deploy.layer_profile import read_profile

    read = read_profile(profile)
    if tuple(read.size) != recipe.size:
        theirs, ours = ("x".join(map(str, size)) for size in (read.size, recipe.size))
        raise InputError(
            f"is a profile of a model for {theirs}, the recipe's is for {ours}",
            where=str(profile),
            hint="make one of this model with: detq bench FLOAT INT8 --profile FILE",
        )
    times = {name: (layer.float_ms, layer.int8_ms) for name, layer in read.layers.items()}
    totals = [(sum(layer.int8 for layer in one.layers), one.total_ms) for one in read.models]
    float_ms = next((ms for int8, ms in totals if not int8), None)
    int8_ms = max(totals)[1] if totals and max(totals)[0] else None
    if budget is not None:
        _require_totals(budget, float_ms, int8_ms, profile)

    def costs(
        model: "FloatModel", int8: frozenset[str], measured: "tuple[float, float] | None"
    ) -> Costs:
        return costs_from_profile(model, times, int8_ms, float_ms, str(profile))

    return costs


def _require_totals(
    budget: "Budget", float_ms: float | None, int8_ms: float | None, profile: Path
) -> None:
    """Told before anything is made: without them no answer could keep the budget."""
    missing = []
    if budget.needs_latency and int8_ms is None:
        missing.append("INT8")
    if budget.min_speedup is not None and float_ms is None:
        missing.append("FLOAT")
    if missing:
        limit = "--max-latency-ms" if budget.min_speedup is None else "--min-speedup"
        raise InputError(
            f"has no time of a whole {' or '.join(missing)} model, which {limit} needs",
            where=str(profile),
            hint="make it of FLOAT and INT8: detq bench FLOAT INT8 --profile FILE",
        )
