"""The step that splits kernels into centre and surround, once for every grid of weights."""

from collections.abc import Mapping

from detq.calibration import drawn_images, first_batches
from detq.kernel_split import Gains, choose_splits, output_snrs_db
from detq.pipeline.make import Observed, choices_of, target_for
from detq.pipeline.progress import Run
from detq.pipeline.tools import Tools
from detq.placement import place
from detq.quantized import quantize
from detq.ranges import choose_ranges, estimator_from
from detq.ranges.weights import WEIGHT_RANGES
from detq.recipe import CoarseFine, Recipe
from detq.stats import load_stats
from detq.target import Target

CHOSEN_BY = (
    "coarse_fine", "float_layers", "cut_ties", "first_layer", "predictions", "range",
    "group_ranges", "activation_bits", "weights",
)  # fmt: skip


def weight_bits(recipe: Recipe, tools: Tools) -> Mapping[str, int]:
    """Target → bits of its weights; empty if no kernel is to be split."""
    if recipe.coarse_fine is None:
        return {}
    return {name: target_for(recipe, tools, name).weights.bits for name in recipe.targets}


def split_kernels(run: Run, observed: Observed) -> Mapping[str, Observed]:
    """The model to quantize for every target; statistics stay those of the whole kernels."""
    options = run.recipe.coarse_fine
    if options is None:
        return dict.fromkeys(run.recipe.targets, observed)
    grids = weight_bits(run.recipe, run.tools)
    made: dict[int, Observed] = {}
    for name, bits in grids.items():
        if bits not in made:
            made[bits] = _split(run, options, name, observed)
    return {name: made[bits] for name, bits in grids.items()}


def _split(run: Run, options: CoarseFine, name: str, observed: Observed) -> Observed:
    target = target_for(run.recipe, run.tools, name)
    grid = f"{target.weights.bits}bit"
    file, record = f"split.{grid}.onnx", f"coarse_fine.{grid}.json"

    def work() -> None:
        from detq.dialects import write_float
        from detq.graph.files import save_model
        from detq.transforms.coarse_fine import split_coarse_fine

        model = run.float_model(observed.model)
        layers = place(model, target, run.recipe.float_layers, run.recipe.cut_ties).layers
        int8 = [layer.node for layer in layers if layer.int8]
        measured = _measured(run, options, target, observed, int8)
        choice = choose_splits(
            model,
            options,
            target.weights,
            per_tensor=target.per_tensor_weights,
            int8=int8,
            measured=measured,
        )
        split = split_coarse_fine(
            model, choice.layers, target.weights, per_tensor=target.per_tensor_weights
        )
        save_model(write_float(split, batch=run.recipe.batch), run.path(file))
        run.write_json(record, choice)

    step = run.step(
        f"coarse_fine.{grid}",
        f"split kernels for weights of {target.weights.bits} bits",
        work,
        inputs={"choices": choices_of(run.recipe, *CHOSEN_BY), "bits": target.weights.bits},
        outputs=[file, record],
        after=[observed.step],
    )
    return Observed(file, observed.stats, step, record)


def _measured(
    run: Run, options: CoarseFine, target: Target, observed: Observed, int8: list[str]
) -> Gains | None:
    if options.choose != "measured":
        return None
    from detq.transforms.coarse_fine import split_coarse_fine, splittable

    model, recipe = run.float_model(observed.model), run.recipe
    layers = [layer for layer in splittable(model) if layer in int8]
    whole = split_coarse_fine(model, layers, target.weights, per_tensor=target.per_tensor_weights)
    stats = load_stats(run.path(observed.stats))
    plain, split = (
        quantize(
            form,
            placement,
            choose_ranges(stats, placement, estimator_from(recipe.range), recipe.group_ranges),
            WEIGHT_RANGES[recipe.weights.method],
        )
        for form in (model, whole)
        for placement in [place(form, target, recipe.float_layers, recipe.cut_ties)]
    )
    refs = drawn_images(recipe.calibration)
    batches = first_batches(model, refs, recipe.calibration, options.images)
    with run.tools.progress("measure splits", min(options.images, len(refs))) as on_step:
        return output_snrs_db(model, plain, split, layers, batches, on_step)
