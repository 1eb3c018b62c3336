"""The step that asks every layer and tie group of one INT8 file what it costs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from glob import escape
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detq.calibration import drawn_images, first_batches
from detq.graph.files import load_model
from detq.pipeline.make import Observed, target_for
from detq.pipeline.progress import Made, Run
from detq.placement import place
from detq.plan import placement_from_json
from detq.runner import Runner
from detq.stats import load_stats
from detq.tune.costs import Costs
from detq.tune.records import Confirmed, Sensitivity, most_gained, worst_alone

if TYPE_CHECKING:
    from detq.tune.mixed import Choice, Mixed

FLOAT_FOR_TUNING = "left float by tune"


@dataclass(frozen=True)
class Boxes:
    """How boxes are compared, handed in.

    Attributes:
        detect: an engine → its boxes on the images that agreement is taken on.
        agree: boxes of the float network and of another → AP of the latter, 0 to 1.
        of: all that the boxes depend on beside the engine, as plain values and records.
    """

    detect: Callable[[Runner], Any]
    agree: Callable[[Any, Any], float]
    of: object = None


@dataclass(frozen=True)
class Look:
    """How closely to look.

    Attributes:
        images: of the calibration images, the first so many.
        confirm: layers of each kind, worst alone and most gained, that are run.
    """

    images: int = 64
    confirm: int = 4


def ask_layers(
    run: Run, label: str, made: Made, observed: Observed, look: Look, boxes: Boxes | None
) -> Sensitivity:
    """Noise of every layer and tie group of one INT8 file, alone and left out.

    Args:
        run: with the recipe that made the file.
        label: target that it was made for, with a float32 body.
        made: the file.
        observed: what it was made from.
        look: how closely.
        boxes: to confirm by agreement; None to do without.
    """
    file = f"sensitivity.{label}.json"

    def work() -> None:
        started = time.process_time()
        found = _asked(run, label, made, observed, look, boxes)
        spent = time.process_time() - started
        run.write_json(file, msgspec.structs.replace(found, cpu_seconds=round(spent, 1)))

    run.step(
        f"sensitivity.{label}",
        f"ask the layers of {made.file}",
        work,
        inputs={"look": [look.images, look.confirm], "boxes": boxes and boxes.of},
        outputs=[file],
        after=[made.step],
    )
    content = run.path(file).read_bytes()
    return msgspec.json.decode(content, type=Sensitivity)


def with_costs(found: Sensitivity, costs: Costs) -> Sensitivity:
    """The same with what every layer costs in float."""
    layers = tuple(
        msgspec.structs.replace(
            layer,
            macs_share=costs.macs_share.get(layer.node),
            cost_ms=costs.extra_ms.get(layer.node),
        )
        for layer in found.layers
    )
    return msgspec.structs.replace(found, layers=layers, cost_source=costs.source)


def _asked(
    run: Run, label: str, made: Made, observed: Observed, look: Look, boxes: Boxes | None
) -> Sensitivity:
    from detq.tune.estimate import estimate, scales_in
    from detq.tune.methods import scales_by_method
    from detq.tune.mixed import Mixed

    quantized = load_model(run.path(made.file))
    placement = placement_from_json(run.path(made.plan).read_bytes())
    mixed = Mixed(run.float_model(observed.model), quantized, placement)
    batches = _images(run, look.images)
    methods = scales_by_method(load_stats(run.path(observed.stats)), placement)
    with run.tools.progress("ask layers", len(batches)) as on_step:
        found = estimate(mixed, scales_in(quantized), batches, methods, on_step=on_step)
    known = Sensitivity(
        file=made.file,
        images=found.images,
        head=found.head,
        layers=found.layers,
        groups=found.groups,
    )
    confirmed = _confirmed(run, label, mixed, known, batches, look, boxes)
    return msgspec.structs.replace(known, confirmed=confirmed)


def _images(run: Run, count: int) -> list[NDArray[np.float32]]:
    """One at a time: gradients of all layers need the memory of all their outputs."""
    options = msgspec.structs.replace(run.recipe.calibration, batch=1)
    refs = drawn_images(options)
    return list(first_batches(run.float_model(), refs, options, count))


def _confirmed(
    run: Run,
    label: str,
    mixed: "Mixed",
    found: Sensitivity,
    batches: Sequence[NDArray[np.float32]],
    look: Look,
    boxes: Boxes | None,
) -> tuple[Confirmed, ...]:
    from detq.tune.confirm import MixedRunner, head_noise
    from detq.tune.mixed import Choice

    asked: list[tuple[Confirmed, Choice]] = [
        (Confirmed(what="all", node="", head=0.0), mixed.everything)
    ]
    for layer in worst_alone(found, look.confirm):
        told = Confirmed(what="alone", node=layer.node, head=0.0, estimate=layer.passed)
        asked.append((told, mixed.alone(layer.node)))
    for layer in most_gained(found, look.confirm):
        told = Confirmed(what="without", node=layer.node, head=0.0, estimate=layer.without)
        asked.append((told, _without(run, label, mixed, layer.node)))
    with run.tools.progress("confirm", len(batches)) as on_step:
        heads = head_noise(mixed, [choice for _, choice in asked], batches, on_step)
    agreements: list[float | None] = [None] * len(asked)
    if boxes is not None:
        with run.tools.progress("compare boxes", len(asked) + 1) as on_step:
            wanted = boxes.detect(MixedRunner(mixed, Choice()))
            for index, (_, choice) in enumerate(asked):
                on_step(index + 1)
                agreements[index] = boxes.agree(wanted, boxes.detect(MixedRunner(mixed, choice)))
    return tuple(
        msgspec.structs.replace(told, head=head, agreement=agreement)
        for (told, _), head, agreement in zip(asked, heads, agreements, strict=True)
    )


def _without(run: Run, label: str, mixed: "Mixed", layer: str) -> "Choice":
    """Everything but one layer, rounded as a recipe would that leaves it float."""
    recipe = run.recipe
    left = {escape(layer): FLOAT_FOR_TUNING, **recipe.float_layers}
    target = target_for(recipe, run.tools, label)
    return mixed.without([layer], place(mixed.model, target, left, recipe.cut_ties))
