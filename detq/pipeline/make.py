"""The steps that make models: float, calibrated, quantized."""

from dataclasses import dataclass

import msgspec

from detq.calibration import drawn_images, observe_images
from detq.data.images import sha256_of
from detq.graph.files import save_model
from detq.histogram import BINS
from detq.pipeline.progress import FLOAT, Made, Run
from detq.placement import candidates, place
from detq.plan import placement_as_json
from detq.quantized import quantize
from detq.ranges import choose_ranges, estimator_from
from detq.ranges.weights import WEIGHT_RANGES
from detq.recipe import Recipe
from detq.run_dir import Step, file_hash, key_of
from detq.stats import load_stats, save_stats
from detq.target import PLAIN, with_grids

SOURCE, STATS, IMAGES = "source.onnx", "stats.npz", "calibration.json"
EVEN, EVEN_STATS = "even.onnx", "stats.even.npz"


@dataclass(frozen=True, slots=True)
class Observed:
    """A float model and what was seen of it.

    Attributes:
        model: file in the run folder.
        stats: file in the run folder.
        step: the step that left them.
    """

    model: str
    stats: str
    step: Step


def make_float(run: Run) -> Made:
    """The checkpoint as a graph, branches apart and merged."""
    recipe = run.recipe
    choices = _choices(recipe, "checkpoint", "size", "layout", "names", "transforms", "batch")

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
        place(model, PLAIN, run.recipe.float_layers)  # a wrong pattern is told before the work
        with run.tools.progress("calibrate", len(refs)) as on_step:
            stats, images = observe_images(model, candidates(model), refs, options, on_step)
        save_stats(stats, run.path(STATS))
        run.write_json(IMAGES, images)

    inputs = {
        "seed": options.seed,
        "shrink": options.shrink,
        "batch": options.batch,
        "bins": BINS,
        "images": key_of([[ref.id, sha256_of(ref.path)] for ref in refs]),
    }
    title = f"look at {len(refs)} images"
    return run.step(
        "calibrate", title, work, inputs=inputs, outputs=[STATS, IMAGES], after=[floated]
    )


def even_out(run: Run, calibrated: Step) -> Observed:
    """The model to quantize: the float one, or the same function with even channels."""
    recipe = run.recipe
    options = recipe.channel_wise
    if options is None:
        return Observed(FLOAT, STATS, calibrated)
    refs = drawn_images(recipe.calibration)

    def work() -> None:
        from detq.dialects import write_float
        from detq.equalize import equalize

        model, seen = run.float_model(), load_stats(run.path(STATS))
        placement = place(model, PLAIN, recipe.float_layers)
        even = equalize(
            model,
            placement,
            seen.tensors,
            balance=options.balance,
            least_spread=options.least_spread,
        ).model
        with run.tools.progress("calibrate again", len(refs)) as on_step:
            stats, _ = observe_images(even, candidates(even), refs, recipe.calibration, on_step)
        save_model(write_float(even, batch=recipe.batch), run.path(EVEN))
        save_stats(stats, run.path(EVEN_STATS))

    step = run.step(
        "channel_wise",
        "bring channels to one range, look again",
        work,
        inputs={"choices": _choices(recipe, "channel_wise", "float_layers")},
        outputs=[EVEN, EVEN_STATS],
        after=[calibrated],
    )
    return Observed(EVEN, EVEN_STATS, step)


def quantize_for(run: Run, name: str, observed: Observed) -> Made:
    """The INT8 model for one target."""
    recipe = run.recipe
    made_by = set(recipe.__struct_fields__) - {"targets", "evaluation", "bench"}
    choices = _choices(recipe, *sorted(made_by))
    file, plan = f"model.{name}.onnx", f"placement.{name}.json"

    def work() -> None:
        from detq.dialects import write_quantized

        model = run.float_model(observed.model)
        target = with_grids(
            run.tools.target_named(name),
            weight_bits=recipe.weights.bits,
            activation_bits=recipe.activation_bits,
            per_tensor_weights=recipe.weights.per_tensor,
        )
        placement = place(model, target, recipe.float_layers)
        stats = load_stats(run.path(observed.stats))
        ranges = choose_ranges(stats, placement, estimator_from(recipe.range))
        weight_range = WEIGHT_RANGES[recipe.weights.method]
        quantized = quantize(model, placement, ranges, weight_range)
        written = write_quantized(quantized, target, batch=recipe.batch, recipe=choices)
        run.write_bytes(plan, placement_as_json(placement))
        save_model(written, run.path(file))

    inputs = {"choices": choices, "for": run.tools.engine_here(name)}
    step = run.step(
        f"quantize.{name}",
        f"write {file}",
        work,
        inputs=inputs,
        outputs=[file, plan],
        after=[observed.step],
    )
    return Made(file, step, plan)


def _choices(recipe: Recipe, *fields: str) -> str:
    """Some fields of a recipe as JSON, for the file they made."""
    chosen = {field: getattr(recipe, field) for field in fields}
    return msgspec.json.encode(chosen, enc_hook=str).decode()
