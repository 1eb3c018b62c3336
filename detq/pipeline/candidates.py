"""Recipes made and measured for a search; every answer is kept in a file of the run folder."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from detq.calibration import drawn_images
from detq.model import FloatModel
from detq.pipeline import quantize_all
from detq.pipeline.make import Observed, drawn_key, float_choices, make_float, target_for
from detq.pipeline.progress import FLOAT, Made, Run
from detq.pipeline.sensitivity import Boxes, Look, ask_layers
from detq.pipeline.tools import Tools
from detq.placement import place
from detq.recipe import Calibration, RangeMethod, Recipe
from detq.recipe_file import recipe_as_json, recipe_as_yaml
from detq.run_dir import RunDir, file_hash, key_of
from detq.runner import Runner
from detq.target import PLAIN, Target
from detq.tune.budget import Tried
from detq.tune.costs import Costs
from detq.tune.methods import best_methods
from detq.tune.records import Sensitivity
from detq.versions import versions

TRIED, ASKED = "tried", "asked"  # folders of answers


@dataclass(frozen=True)
class Measures:
    """How a file is judged, handed in.

    Attributes:
        open: a file in the engine.
        boxes: how its boxes are compared.
        ap: a file → COCO's AP on the engine, 0 to 1; None without labels.
        latency: files → milliseconds per image of each, taken in turn; None to time nothing.
        of: all that the answers depend on beside the recipe and its calibration images, as plain
            values and records.
    """

    open: Callable[[Path], AbstractContextManager[Runner]]
    boxes: Boxes
    ap: Callable[[Path], float] | None
    latency: Callable[[Mapping[str, Path]], Mapping[str, float]] | None
    of: object


# Float model, layers that are INT8 at the start, ms of both or None → costs.
CostsOf = Callable[[FloatModel, frozenset[str], "tuple[float, float] | None"], Costs]


class _Float(msgspec.Struct, frozen=True):
    """The float model on the engine."""

    ap: float | None


class Candidates:
    """A judge for ``detq.tune.search`` that makes every recipe in one run folder.

    Args:
        recipe: where the search begins, with absolute paths.
        label: target whose file is judged.
        folder: open run folder.
        tools: what lies above the pipeline.
        measures: how files are judged.
        look: how closely layers are asked.
    """

    def __init__(
        self,
        recipe: Recipe,
        label: str,
        folder: RunDir,
        tools: Tools,
        measures: Measures,
        look: Look,
    ) -> None:
        self._recipe, self._label, self._folder = recipe, label, folder
        self._tools = replace(tools, note=lambda line: None)
        self._measures, self._look = measures, replace(look, confirm=0)
        self._checkpoint = file_hash(recipe.checkpoint)
        self._drawn: dict[Calibration, str] = {}
        self._wanted: Any = None
        self.costs = Costs({}, {})
        self.asking_seconds: dict[str, float] = {}  # processor time, by name of the answer

    def begin(self, costs_of: CostsOf) -> None:
        """Make and judge the start, and know what its layers cost in float."""
        run = self._run(self._recipe)
        make_float(run)
        model = run.float_model()
        target = target_for(self._recipe, self._tools, self._label)
        placement = place(model, target, self._recipe.float_layers, self._recipe.cut_ties)
        int8 = frozenset(layer.node for layer in placement.layers if layer.int8)
        times = None
        if self._measures.latency is not None:
            start = self.fully(self._recipe, "start", ())
            if start.latency_ms is not None and start.speedup is not None:
                times = (start.latency_ms * start.speedup, start.latency_ms)
        self.costs = costs_of(model, int8, times)

    def quickly(self, recipe: Recipe, what: str, layers: tuple[str, ...]) -> Tried:
        """Agreement alone; without labels that is the accuracy, too."""
        return self._known(recipe) or self._judged(recipe, what, layers, None)

    def fully(self, recipe: Recipe, what: str, layers: tuple[str, ...]) -> Tried:
        """Also AP, and latency if it is wanted."""
        known = self.quickly(recipe, what, layers)
        return known if known.drop is not None else self._judged(recipe, what, layers, known)

    def gains(self, recipe: Recipe) -> Mapping[str, float]:
        """INT8 layer → noise that its float form takes from the head."""
        found = self._asked(recipe)
        return {layer.node: found.head - layer.without for layer in found.layers}

    def methods(self, recipe: Recipe) -> Mapping[str, RangeMethod]:
        """Pattern of tie groups → a range method that passes on less noise."""
        return best_methods(self._asked(recipe))

    def cost(self, layer: str) -> float:
        """Milliseconds where they are known, else the share of multiplications."""
        return self.costs.of(layer)

    def _judged(
        self, recipe: Recipe, what: str, layers: tuple[str, ...], known: Tried | None
    ) -> Tried:
        """Measure a recipe: its agreement, or all that ``known`` lacks."""
        started = time.process_time()
        run = self._run(recipe)
        made, _ = self._made(run, self._label)
        file, floated = run.path(made.file), run.path(FLOAT)
        agreement = known.agreement if known else self._agreement(file, floated)
        told = Tried(
            what=known.what if known else what,
            recipe=recipe_as_yaml(msgspec.structs.replace(recipe, targets=(self._label,))),
            float_layers=layers,
            float_macs=self.costs.macs_of(layers),
            agreement=agreement,
            sha256=file_hash(file),
        )
        if known is not None or self._measures.ap is None:
            told = self._with_accuracy(told, file, floated)
            told = self._with_latency(told, file, floated)
        spent = time.process_time() - started + (known.cpu_seconds if known else 0.0)
        told = msgspec.structs.replace(told, cpu_seconds=round(spent, 2))
        run.write_json(self._file(TRIED, recipe), told)
        return told

    def _with_accuracy(self, told: Tried, file: Path, floated: Path) -> Tried:
        if self._measures.ap is None:
            return msgspec.structs.replace(told, drop=100 * (1 - told.agreement))
        ap, of_float = self._measures.ap(file), self._float_ap(floated)
        return msgspec.structs.replace(told, ap=ap, drop=100 * (of_float - ap))

    def _with_latency(self, told: Tried, file: Path, floated: Path) -> Tried:
        if self._measures.latency is not None:
            found = self._measures.latency({"float": floated, "int8": file})
            ms, of_float = found["int8"], found["float"]
            return msgspec.structs.replace(told, latency_ms=ms, speedup=of_float / ms)
        ms_told = self.costs.latency_ms(told.float_layers)
        if ms_told is None:
            return told
        speedup = None if self.costs.float_ms is None else self.costs.float_ms / ms_told
        return msgspec.structs.replace(told, latency_ms=ms_told, speedup=speedup)

    def _agreement(self, file: Path, floated: Path) -> float:
        boxes = self._measures.boxes
        if self._wanted is None:
            with self._measures.open(floated) as runner:
                self._wanted = boxes.detect(runner)
        with self._measures.open(file) as runner:
            return boxes.agree(self._wanted, boxes.detect(runner))

    def _float_ap(self, floated: Path) -> float:
        """Of the float model, which is the same for every recipe."""
        path = self._folder.path / self._file(TRIED, None)
        if path.is_file():
            known = msgspec.json.decode(path.read_bytes(), type=_Float)
            if known.ap is not None:
                return known.ap
        assert self._measures.ap is not None
        ap = self._measures.ap(floated)
        self._run(self._recipe).write_json(self._file(TRIED, None), _Float(ap))
        return ap

    def _asked(self, recipe: Recipe) -> Sensitivity:
        """Noise of every layer; of the file that is judged, where it is float32 outside of INT8."""
        name = self._file(ASKED, recipe)
        path = self._folder.path / name
        if path.is_file():
            found = msgspec.json.decode(path.read_bytes(), type=Sensitivity)
        else:
            run = self._run(recipe)
            label = asked_label(self._label, self._tools.target_named(self._label), recipe)
            made, observed = self._made(run, label)
            found = ask_layers(run, label, made, observed, self._look, None)
            run.write_json(name, found)
        self.asking_seconds[name] = found.cpu_seconds
        return found

    def _made(self, run: Run, label: str) -> tuple[Made, Observed]:
        run.recipe = msgspec.structs.replace(run.recipe, targets=(label,))
        quantized, ready = quantize_all(run, make_float(run))
        return quantized[label], ready[label]

    def _run(self, recipe: Recipe) -> Run:
        given = {"targets": (self._label,), "evaluation": None, "bench": None}
        return Run(msgspec.structs.replace(recipe, **given), self._folder, self._tools, total=0)

    def _known(self, recipe: Recipe) -> Tried | None:
        path = self._folder.path / self._file(TRIED, recipe)
        if not path.is_file():
            return None
        return msgspec.json.decode(path.read_bytes(), type=Tried)

    def _file(self, kind: str, recipe: Recipe | None) -> str:
        """Name of an answer: another recipe, engine or set of images has another.

        Without a recipe it is the float model's, which is the same for every recipe of a search.
        """
        of = {
            "made": float_choices(self._recipe) if recipe is None else self._made_of(recipe),
            "checkpoint": self._checkpoint,
            "measures": self._measures.of,
            "look": [self._look.images, self._look.confirm],
            "versions": versions(),
        }
        return f"{kind}/{'float' if recipe is None else ''}{key_of(of)[:20]}.json"

    def _made_of(self, recipe: Recipe) -> list[str]:
        """The choices that a file is made by, and its images, which are read once for all."""
        given = {"targets": (self._label,), "evaluation": None, "bench": None}
        options = recipe.calibration
        if options not in self._drawn:
            self._drawn[options] = drawn_key(drawn_images(options))
        return [recipe_as_json(msgspec.structs.replace(recipe, **given)), self._drawn[options]]


def asked_label(label: str, target: Target, recipe: Recipe) -> str:
    """Target whose file tells of the layers: its own, or ``plain`` where that is float16 inside."""
    own = not target.strongly_typed and target.int8_initializers and recipe.head is None
    return label if own else PLAIN.name
