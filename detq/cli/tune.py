"""``detq tune``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from detq.cli.arguments import Backend, Count, Flag
from detq.cli.output import Output
from detq.cli.tune_tables import FRONT, PAGE, figures_of, show
from detq.errors import InputError

if TYPE_CHECKING:
    from detq.cli.output import Output as Out
    from detq.pipeline.tools import Tools
    from detq.recipe import Recipe
    from detq.run_dir import RunDir
    from detq.tune.budget import Budget, Tried
    from detq.tune.records import Sensitivity
    from detq.tune.search import Found

RESULT = "tune.json"

Few = Annotated[int, Parameter(validator=Number(gte=0))]


def tune(
    recipe: Path,
    /,
    *,
    output: Path,
    sensitivity: Flag = False,
    max_drop: float | None = None,
    max_latency_ms: float | None = None,
    min_speedup: float | None = None,
    engine: Backend | None = None,
    latency_profile: Path | None = None,
    evaluations: Count = 24,
    images: Count = 64,
    confirm: Few = 4,
    out: Output = Output(),  # noqa: B008 - frozen
) -> int:
    """Find the layers that cost accuracy, and the recipe that keeps a budget.

    Ends with 1 if the budget cannot be kept; the best point found is told all the same.

    Example: detq tune configs/yolov6n_person.yaml --max-drop 0.2 --output tuned

    Args:
        recipe: YAML file to begin with.
        output: Folder; the same folder goes on where a search was stopped.
        sensitivity: Tell the noise of every layer and tie group; labels are not read.
        max_drop: Points of AP (0 to 100) that may be lost; without labels, points of agreement.
        max_latency_ms: Milliseconds per image that may be taken.
        min_speedup: Times as fast as the float model that it must be.
        engine: Where to measure; the recipe's own if not given, torch for simulation.
        latency_profile: Predict latency from this file of another device instead of timing here.
        evaluations: Most recipes to make and judge.
        images: Number of images to ask layers and to compare boxes on.
        confirm: Layers of each kind whose estimate is confirmed by a run.
        out: How the result is told.
    """
    from detq.cli.chain import check_recipe, tools_for
    from detq.cli.tuning import engine_of, tuned_recipe
    from detq.recipe_file import read_recipe, resolve_paths
    from detq.run_dir import RunDir
    from detq.tune.budget import Budget

    limits = {"max_drop": max_drop, "max_latency_ms": max_latency_ms, "min_speedup": min_speedup}
    asked = any(x is not None for x in limits.values())
    budget = Budget(**limits) if asked or not sensitivity else None
    if not recipe.is_file():
        raise InputError(
            "no such recipe",
            where=str(recipe),
            hint="write one: detq config --explain > recipe.yaml",
        )
    given = resolve_paths(read_recipe(recipe), recipe.parent, where=str(recipe))
    label, backend = engine_of(given, engine)
    start = tuned_recipe(given, label, backend)
    check_recipe(start)
    tools = tools_for(start, out)
    with RunDir(output) as folder:
        work = _Work(start, label, backend, folder, tools, latency_profile, images, budget, out)
        noise = work.ask(confirm) if sensitivity else None
        found = work.search(budget, evaluations) if budget is not None else None
        result = {"engine": backend, "label": label, "sensitivity": noise, **_told(found, budget)}
        work.write(result, noise, found, budget)
    out.tell(result, lambda: show(noise, found, output))
    return 0 if found is None or found.kept else 1


class _Work:
    """One call: what both parts of it share."""

    def __init__(
        self,
        start: "Recipe",
        label: str,
        backend: str,
        folder: "RunDir",
        tools: "Tools",
        profile: Path | None,
        images: int,
        budget: "Budget | None",
        out: "Out",
    ) -> None:
        from detq.cli.tuning import costs_for

        self._start, self._label, self._backend = start, label, backend
        self._folder, self._tools, self._out, self._images = folder, tools, out, images
        self._profile, self._costs_of = profile, costs_for(start, profile, backend, budget)

    def ask(self, confirm: int) -> "Sensitivity":
        """Noise of every layer and tie group."""
        from detq.cli.tuning import boxes_for
        from detq.pipeline import quantize_all
        from detq.pipeline.candidates import asked_label
        from detq.pipeline.make import make_float
        from detq.pipeline.measure import time_models
        from detq.pipeline.progress import Run
        from detq.pipeline.sensitivity import Look, ask_layers, with_costs

        label = asked_label(self._label, self._tools.target_named(self._label), self._start)
        recipe = msgspec.structs.replace(self._start, targets=(label,))
        sections = [recipe.channel_wise, recipe.coarse_fine, recipe.bench]
        run = Run(recipe, self._folder, self._tools, 4 + sum(x is not None for x in sections))
        floated = make_float(run)
        quantized, ready = quantize_all(run, floated)
        made = quantized[label]
        boxes = boxes_for(recipe, self._images, self._out)
        look = Look(images=self._images, confirm=confirm)
        found = ask_layers(run, label, made, ready[label], look, boxes)
        times = None
        if recipe.bench is not None and self._profile is None:
            timings = time_models(run, {"float": floated, label: made})["timings"]
            if label in timings:
                both = (timings[name]["wall_ms"]["median"] for name in ("float", label))
                times = (next(both), next(both))
        int8 = frozenset(layer.node for layer in found.layers)
        return with_costs(found, self._costs_of(run.float_model(), int8, times))

    def search(self, budget: "Budget", evaluations: int) -> "Found":
        """The recipe that keeps a budget."""
        from detq.cli.tuning import measures_for
        from detq.pipeline.candidates import Candidates
        from detq.pipeline.sensitivity import Look
        from detq.tune.search import search

        timed = self._profile is None and (budget.needs_latency or self._start.bench is not None)
        measures = measures_for(
            self._start,
            self._backend,
            self._images,
            self._tools,
            timed,
            self._profile,
            self._out,
        )
        look = Look(images=self._images)
        judge = Candidates(self._start, self._label, self._folder, self._tools, measures, look)
        judge.begin(self._costs_of)
        done = 0

        def tell(tried: "Tried") -> None:
            nonlocal done
            done += 1
            self._out.note(f"[{done}/{evaluations}] {tried.what}: {figures_of(tried)}")

        return search(self._start, judge, budget, evaluations=evaluations, on_tried=tell)

    def write(
        self,
        result: dict[str, Any],
        noise: "Sensitivity | None",
        found: "Found | None",
        budget: "Budget | None",
    ) -> None:
        """Figures, page, and the recipe of every point of the front."""
        from detq.whole_file import written_whole
        from detq_eval.report.tuning import tuning_html

        folder = self._folder.path
        files = {RESULT: msgspec.json.format(msgspec.json.encode(result, enc_hook=str), indent=1)}
        tried = None if found is None else found.tried
        page = tuning_html(folder.name, self._backend, noise, tried, budget)
        files[PAGE] = page.encode()
        if found is not None:
            for old in (folder / FRONT).glob("*.yaml"):
                old.unlink()
            for number, point in enumerate(found.front, 1):
                text = f"# {point.what}: {figures_of(point)}\n{point.recipe}"
                files[f"{FRONT}/{number:02}.yaml"] = text.encode()
            files["best.yaml"] = found.best.recipe.encode()
        for name, content in files.items():
            with written_whole(folder / name) as temporary:
                temporary.write_bytes(content)


def _told(found: "Found | None", budget: "Budget | None") -> dict[str, Any]:
    if found is None:
        return {}
    parts = {"budget": budget, "kept": found.kept, "best": found.best, "front": found.front}
    return {**parts, "tried": found.tried}
