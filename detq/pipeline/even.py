"""The steps that bring channels to one range, and look at the images again afterwards."""

from collections.abc import Mapping

import msgspec

from detq.calibration import drawn_images, first_batches
from detq.channel_factors import Factors
from detq.graph.files import save_model
from detq.model import FloatModel
from detq.numerics import ACTIVATIONS
from detq.pipeline.make import STATS, Observed, choices_of, values_to_observe, with_recipe
from detq.pipeline.progress import FLOAT, Run
from detq.placement import place
from detq.plan import Placement
from detq.ranges import choose_ranges, estimator_from
from detq.recipe import ChannelWise, MinMax, Mse, RangeMethod
from detq.run_dir import Step
from detq.stats import CalibrationStats, load_stats, save_stats
from detq.target import PLAIN

EVEN, EVEN_STATS, TRIALS = "even.onnx", "stats.even.npz", "channel_wise.json"
NORMS, NORMS_STATS = "norms.onnx", "stats.norms.npz"


class EvenGroup(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one tie group, for the result of a run.

    Attributes:
        group: its name in the float network.
        changed: whether its channels were evened out.
        multiplies: a multiplication per channel stays in the graph; None if that was not looked at.
        balance: that is best on the images; None if not measured.
        gain_db: of the readers' output with it.
    """

    group: str
    changed: bool
    multiplies: bool | None = None
    balance: float | None = None
    gain_db: float | None = None


def even_out(run: Run, calibrated: Step) -> Observed:
    """The model to quantize: the float one, or the same function with even channels."""
    recipe = run.recipe
    options = recipe.channel_wise
    if options is None:
        return Observed(FLOAT, STATS, calibrated)
    clipped = _is_clipped(options, recipe.range)

    def work() -> None:
        from detq.channel_factors import largest_magnitudes
        from detq.equalize import equalize

        model, seen = run.float_model(), load_stats(run.path(STATS))
        # Factors per channel go through what copies, so a tie holds here where it is cut, too.
        placement = place(model, with_recipe(PLAIN, recipe), recipe.float_layers)
        ranges = largest_magnitudes(seen.tensors)
        if clipped:
            ranges = _clipped(run, model, placement, ranges)
        found, balances = _measured(run, options, model, placement, seen, ranges)
        even = equalize(
            model,
            placement,
            seen.tensors,
            balance=options.balance,
            least_spread=options.least_spread,
            balances=balances,
            ranges=ranges,
        )
        groups = found or {name: EvenGroup(group=name, changed=False) for name in placement.groups}
        report = [
            msgspec.structs.replace(groups[name], changed=name in even.groups) for name in groups
        ]
        _look_again(run, even.model, EVEN, EVEN_STATS)
        run.write_json(TRIALS, {"groups": report, "multiplications": even.multiplications})

    fields = ("channel_wise", "float_layers", "first_layer", "predictions")
    grids = {
        "activation_bits": recipe.activation_bits,
        "weight_bits": recipe.weights.bits,
        "per_tensor": recipe.weights.per_tensor,
    }
    step = run.step(
        "channel_wise",
        "bring channels to one range, look again",
        work,
        inputs={"choices": choices_of(recipe, *fields), "grids": grids, "clipped": clipped},
        outputs=[EVEN, EVEN_STATS, TRIALS],
        after=[calibrated],
    )
    return Observed(EVEN, EVEN_STATS, step)


def one_scale_for_norms(run: Run, observed: Observed) -> Observed:
    """The same function with LayerNorms that one scale fits, if the recipe asks for it."""
    options = run.recipe.repquant
    if options is None or not options.layer_norm:
        return observed

    def work() -> None:
        from detq.repquant import reparameterize_layer_norms

        stats = load_stats(run.path(observed.stats))
        found = reparameterize_layer_norms(run.float_model(observed.model), stats.tensors)
        _look_again(run, found.model, NORMS, NORMS_STATS)

    step = run.step(
        "layer_norm",
        "bring LayerNorms to one scale, look again",
        work,
        inputs={"choices": choices_of(run.recipe, "repquant")},
        outputs=[NORMS, NORMS_STATS],
        after=[observed.step],
    )
    return Observed(NORMS, NORMS_STATS, step)


def _look_again(run: Run, model: FloatModel, file: str, stats: str) -> None:
    from detq.dialects import write_float

    options = run.recipe.calibration
    refs = drawn_images(options)
    values = values_to_observe(model, run.recipe)
    with run.tools.progress("calibrate again", len(refs)) as on_step:
        found, _ = run.tools.observe(model, values, refs, options, on_step)
    save_model(write_float(model, batch=run.recipe.batch), run.path(file))
    save_stats(found, run.path(stats))


def _is_clipped(options: ChannelWise, method: RangeMethod) -> bool:
    """Channels are clipped as the tensors are, if the recipe does not say it."""
    return options.range == "mse" or (options.range is None and isinstance(method, Mse))


def _clipped(
    run: Run, model: FloatModel, placement: Placement, largest: Mapping[str, Factors]
) -> dict[str, Factors]:
    """A range for every channel of the rounded tensors, with the least squared error."""
    from detq.channel_clip import clipped_channels

    options = run.recipe.calibration
    refs = drawn_images(options)
    points = {point.value: point.grid for point in placement.points}
    wanted = {name: top for name, top in largest.items() if name in points}
    grid = next(iter(points.values()), ACTIVATIONS)
    done = 0

    def count(images: int) -> None:
        nonlocal done
        done = min(done + images, len(refs))
        on_step(done)

    with run.tools.progress("look at channels", len(refs)) as on_step:
        batches = first_batches(model, refs, options, len(refs))
        found = clipped_channels(model, wanted, grid, batches, count)
    return {**largest, **found}


def _measured(
    run: Run,
    options: ChannelWise,
    model: FloatModel,
    placement: Placement,
    seen: CalibrationStats,
    channels: Mapping[str, Factors],
) -> tuple[dict[str, EvenGroup], dict[str, float] | None]:
    """What was tried, and the balance of every group that gains; nothing where not asked for."""
    if options.choose != "measured":
        return {}, None
    from detq.channel_trial import try_balances, worth_it

    recipe = run.recipe
    refs = drawn_images(recipe.calibration)
    one = msgspec.structs.replace(recipe.calibration, batch=1)
    with run.tools.progress("measure channels", min(options.images, len(refs))) as on_step:
        trials = try_balances(
            model,
            placement,
            channels,
            # Without clipping on either side: one choice serves every range method.
            choose_ranges(seen, placement, estimator_from(MinMax())),
            first_batches(model, refs, one, options.images),
            on_step=on_step,
        )
    groups = {
        trial.group: EvenGroup(
            group=trial.group,
            changed=False,
            multiplies=trial.multiplies,
            balance=trial.best[0],
            gain_db=round(trial.best[1], 2),
        )
        for trial in trials
    }
    return groups, worth_it(trials, options.least_gain_db)
