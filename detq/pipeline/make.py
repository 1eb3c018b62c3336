"""The steps that make models: float, calibrated, quantized."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from detq.calibration import drawn_images
from detq.data.images import ImageRef
from detq.graph.files import save_model
from detq.histogram import BINS
from detq.idle_factors import without_idle_factors
from detq.model import FloatModel
from detq.pipeline.learn import learn_in_turn
from detq.pipeline.progress import FLOAT, Made, Run
from detq.pipeline.tools import Tools
from detq.placement import candidates, place
from detq.placement.ties import uneven_ties
from detq.plan import placement_as_json
from detq.quantized import quantize
from detq.ranges import choose_ranges, estimator_from
from detq.ranges.weights import WEIGHT_RANGES
from detq.recipe import Recipe
from detq.repquant import code_softmax, linear_inputs, place_linear
from detq.run_dir import Step, file_hash, key_of
from detq.stats import load_stats, save_stats
from detq.target import PLAIN, Target, with_grids
from detq.versions import versions

SOURCE, STATS, IMAGES = "source.onnx", "stats.npz", "calibration.json"


@dataclass(frozen=True, slots=True)
class Observed:
    """A float model and what was seen of it.

    Attributes:
        model: file in the run folder.
        stats: file in the run folder.
        step: the step that left them.
        splits: record of the kernels that were split; empty if none were to be.
    """

    model: str
    stats: str
    step: Step
    splits: str = ""


def make_float(run: Run) -> Made:
    """The checkpoint as a graph, branches apart and merged."""
    recipe = run.recipe
    choices = float_choices(recipe)

    def work() -> None:
        from detq.dialects import write_float
        from detq.transforms import transform

        source = run.tools.read_source(recipe.checkpoint, recipe.size)
        save_model(write_float(source, batch=recipe.batch), run.path(SOURCE))
        merged = transform(source, recipe.transforms)
        save_model(write_float(merged, batch=recipe.batch, recipe=choices), run.path(FLOAT))

    title = f"read {recipe.checkpoint.name}, merge its branches"
    inputs = {"checkpoint": file_hash(recipe.checkpoint), "choices": choices}
    return Made(FLOAT, run.step("float", title, work, inputs=inputs, outputs=[SOURCE, FLOAT]))


def calibrate(run: Run, floated: Step) -> Step:
    """Statistics of every tensor that any target or choice of float layers may round."""
    options = run.recipe.calibration
    refs = drawn_images(options)

    def work() -> None:
        model = run.float_model()
        # A wrong pattern is told before the work.
        place(model, PLAIN, run.recipe.float_layers, run.recipe.cut_ties)
        with run.tools.progress("calibrate", len(refs)) as on_step:
            values = values_to_observe(model, run.recipe)
            stats, images = run.tools.observe(model, values, refs, options, on_step)
        save_stats(stats, run.path(STATS))
        run.write_json(IMAGES, images)

    inputs = {
        "seed": options.seed,
        "shrink": options.shrink,
        "batch": options.batch,
        "bins": BINS,
        "linear": run.recipe.repquant is not None,
        "images": drawn_key(refs),
    }
    return run.step(
        "calibrate",
        f"look at {len(refs)} images",
        work,
        inputs=inputs,
        outputs=[STATS, IMAGES],
        after=[floated],
        under_same=True,
    )


def drawn_key(refs: Sequence[ImageRef]) -> str:
    """Which images were drawn, and the content of each."""
    return key_of([[ref.id, file_hash(ref.path)] for ref in refs])


def values_to_observe(model: FloatModel, recipe: Recipe) -> frozenset[str]:
    """Tensors that any target, or any choice of float layers, may round."""
    if recipe.repquant is None:
        return candidates(model)
    return candidates(model) | linear_inputs(model)


def quantize_for(run: Run, name: str, observed: Observed) -> Made:
    """The INT8 model for one target."""
    recipe = run.recipe
    made_by = set(recipe.__struct_fields__) - {"targets", "evaluation", "bench"}
    choices = choices_of(recipe, *sorted(made_by))
    file, plan = f"model.{name}.onnx", f"placement.{name}.json"
    answers = f"explain.{name}.json"
    learned = f"learned.{name}.json" if recipe.learn else ""
    inputs = {"choices": choices, "for": run.tools.engine_here(name)}

    def work() -> None:
        from detq.dialects import write_quantized
        from detq.dialects.heads import heads_from, with_heads
        from detq.dialects.record import record_of

        model = run.float_model(observed.model)
        target = target_for(recipe, run.tools, name)
        placement = place(model, target, recipe.float_layers, recipe.cut_ties)
        if recipe.repquant is not None:
            placement = place_linear(model, placement, target, recipe.float_layers)
        model = without_idle_factors(model, placement)
        stats = load_stats(run.path(observed.stats))
        estimate = estimator_from(recipe.range)
        ranges = choose_ranges(stats, placement, estimate, recipe.group_ranges)
        ties = uneven_ties(model.graph.graph, placement, stats, ranges, estimate)
        weight_range = WEIGHT_RANGES[recipe.weights.method]
        quantized = quantize(model, placement, ranges, weight_range)
        options = recipe.repquant
        if options is not None and options.softmax is not None:
            code_softmax(quantized.graph, options.softmax_bits, options.softmax)
        if recipe.learn:
            made_of = key_of([inputs, observed.step.digest, versions()])
            quantized, outcomes = learn_in_turn(run, name, model, quantized, made_of)
            run.write_json(learned, outcomes)
        written = write_quantized(quantized, target, batch=recipe.batch, recipe=choices)
        run.write_json(answers, record_of(written, target, ties))
        if recipe.head is not None and name != PLAIN.name:
            written = with_heads(written, heads_from(recipe.head), nms=target.nms, where=name)
        run.write_bytes(plan, placement_as_json(placement))
        save_model(written, run.path(file))

    step = run.step(
        f"quantize.{name}",
        f"{'learn, ' if learned else ''}write {file}",
        work,
        inputs=inputs,
        outputs=[file, plan, answers, *([learned] if learned else [])],
        after=[observed.step],
    )
    return Made(file, step, plan, learned, answers)


def target_for(recipe: Recipe, tools: Tools, name: str) -> Target:
    """What the consumer can do on this machine, with the recipe's grids."""
    return with_recipe(tools.target_named(name), recipe)


def with_recipe(target: Target, recipe: Recipe) -> Target:
    """A consumer with the recipe's grids, and its say on the first and the last layers."""
    grids = with_grids(
        target,
        weight_bits=recipe.weights.bits,
        activation_bits=recipe.activation_bits,
        per_tensor_weights=recipe.weights.per_tensor,
    )
    first = target.first_layer and recipe.first_layer == "int8"
    return replace(grids, first_layer=first, predictions=recipe.predictions == "int8")


def float_choices(recipe: Recipe) -> str:
    """The fields that the float file is made by."""
    return choices_of(recipe, "checkpoint", "size", "layout", "names", "transforms", "batch")


def choices_of(recipe: Recipe, *fields: str) -> str:
    """Some fields of a recipe as JSON, for the file they made."""
    chosen = {field: getattr(recipe, field) for field in fields}
    return msgspec.json.encode(chosen, enc_hook=str).decode()
