"""Units one after the other, each fed by the quantized units before it, its targets float."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detq.graph.execute import Program, exact_float32, execute
from detq.learn.cut import Cut, Params
from detq.learn.descend import Way, descend
from detq.learn.finished import Finished
from detq.learn.int8_layers import Int8Layer, Part
from detq.learn.learned import Learned, Task, UnitLoss
from detq.learn.objective import class_logits, objective_for
from detq.learn.state import State, state_of
from detq.learn.straight_through import STRAIGHT_THROUGH
from detq.learn.trainables import Trainable, learned_affine, learned_scale
from detq.learn.units import Unit, head_values
from detq.quantized import SCALE
from detq.recipe import Metric, Scope, Tail

Rounding = Callable[[State, Part, Tensor], Trainable]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is learned, and by which loss.

    Attributes:
        steps: gradient steps per unit.
        batch: images per step.
        seed: of the order of the images.
        device: ``cpu`` or ``cuda``.
        scales: learn activation scales; each in the first unit that rounds with it.
        gain: learn a gain per output channel.
        bias: learn the biases.
        rounding: how integers of weights are learned; not at all if None.
        metric: of the difference.
        scope: which terms the loss has.
        stage_weight: of the stage's term at its last unit.
        tail: which graph the rest of a stage runs in.
        confidence: weigh the head's places by the float class confidence.
    """

    steps: int
    batch: int
    seed: int = 0
    device: str = "cpu"
    scales: bool = False
    gain: bool = False
    bias: bool = False
    rounding: Rounding | None = None
    metric: Metric = "mae"
    scope: Scope = "block"
    stage_weight: float = 1.0
    tail: Tail = "float"
    confidence: bool = False


def reconstruct(task: Task, units: Sequence[Unit], plan: Plan) -> Learned:
    """Learn unit by unit; one that does not get better keeps the parameters it had."""
    finished = Finished.open(task.resume, task.key)
    with exact_float32():
        walk = Walk(task, units, plan)
        losses: list[UnitLoss] = []
        for index, unit in enumerate(units):
            losses.append(walk.take(index, finished))
            if index + 1 == len(units) or units[index + 1].stage != unit.stage:
                finished.save()
                task.note(_line(unit, units, losses))
        return Learned(walk.state.result(), tuple(losses))


class Walk:
    """The state of a pass through the units."""

    def __init__(self, task: Task, units: Sequence[Unit], plan: Plan) -> None:
        self.task, self.units, self.plan = task, units, plan
        self.state = state_of(task.quantized, plan.device)
        self._float_params = task.float_parameters(plan.device)
        float_graph, graph = task.floated.graph.graph, self.state.model.graph.graph
        stores = task.stores(plan.device)
        self.floats = Cut(float_graph, units, stores[0], task.batch)
        self.rounded = Cut(graph, units, stores[1], task.batch, STRAIGHT_THROUGH)
        heads = head_values(float_graph) if plan.confidence else ()
        self._classes = class_logits(float_graph, heads)
        for index, unit in enumerate(units):
            for end in self._classes.keys() & set(unit.ends):
                self.floats.hold_until(self._classes[end], index)
        self._taken: set[str] = set()

    def take(self, index: int, finished: Finished) -> UnitLoss:
        """Learn one unit, or take over what an earlier run learned, and go behind it."""
        unit, state = self.units[index], self.state
        self.floats.advance(index, self._float_params)
        layers, scales = self._claim(self.rounded.slices[index])
        if unit.name in finished:
            state.put(finished.parameters(unit.name, self.plan.device))
            loss = finished.losses[unit.name]
            self._tell(index, self.plan.steps)
        else:
            known = dict(state.params)
            loss = self._learn(index, layers, scales)
            changed = {name: x for name, x in state.params.items() if x is not known[name]}
            finished.add(loss, changed)
        self.rounded.advance(index, state.params)
        self.floats.leave(index)
        self.rounded.leave(index)
        return loss

    def _claim(self, program: Program) -> tuple[list[Int8Layer], list[str]]:
        """Layers and scales that a slice is the first to read."""
        read = program.constants.keys() - self._taken
        layers = [x for x in self.state.layers if any(part.codes in read for part in x.parts)]
        groups = self.state.model.placement.groups
        scales = [name for name in (f"{group}.{SCALE}" for group in groups) if name in read]
        self._taken.update(scales, (part.codes for x in layers for part in x.parts))
        return layers, scales

    def _learn(self, index: int, layers: Sequence[Int8Layer], scales: Sequence[str]) -> UnitLoss:
        plan, unit = self.plan, self.units[index]
        if plan.scope != "block" and unit.ends:
            self.floats.keep(self.floats.rests[index], self._float_params)
        objective = objective_for(
            unit,
            self.floats,
            metric=plan.metric,
            scope=plan.scope,
            stage_weight=plan.stage_weight,
            classes=self._classes,
        )
        in_float = plan.tail == "float"
        rest = (self.floats if in_float else self.rounded).rests[index]
        way = Way(
            self.rounded,
            self.rounded.slices[index],
            rest,
            self._float_params if in_float else None,
            objective,
        )
        before, after = descend(
            way,
            self.state,
            self._trainables(index, layers, scales),
            steps=plan.steps,
            batch=self.task.fixed_batch or plan.batch,
            generator=torch.Generator().manual_seed(plan.seed * 100_003 + index),
            on_step=lambda step: self._tell(index, step),
        )
        return UnitLoss(unit.name, before, after)

    def _trainables(
        self, index: int, layers: Sequence[Int8Layer], scales: Sequence[str]
    ) -> list[Trainable]:
        """Rounding first: a gain is folded into the integers that are chosen."""
        plan, state = self.plan, self.state
        found: list[Trainable] = []
        if plan.rounding is not None:
            found += [
                plan.rounding(state, part, self.float_weights(part.node))
                for layer in layers
                for part in layer.parts
            ]
        if plan.gain or plan.bias:
            spreads = self._spreads(index, [layer.output for layer in layers])
            found += [
                learned_affine(state, x, spreads[x.output], gain=plan.gain, shift=plan.bias)
                for x in layers
            ]
        if plan.scales:
            grids = {f"{g}.{SCALE}": m[0].grid for g, m in state.model.placement.groups.items()}
            found += [learned_scale(state, name, grids[name].highest) for name in scales]
        return found

    def float_weights(self, node: str) -> Tensor:
        """Weights of a layer before they were rounded."""
        graph = self.task.floated.graph.graph
        stored = next(x for x in graph if x.name == node).inputs[1]
        if stored is None or stored.const_value is None:
            raise AssertionError(f"{node} has no weights")
        return torch.from_numpy(stored.const_value.numpy().copy()).to(self.plan.device)

    def _spreads(self, index: int, names: Sequence[str]) -> Params:
        """Standard deviation of each channel in the float network, from the first images."""
        found: dict[str, Tensor] = {}

        def look(name: str, x: Tensor) -> Tensor:
            if name in names:
                found[name] = x.transpose(0, 1).flatten(1).std(1) + 1e-6 * x.abs().mean()
            return x

        cut, program = self.floats, self.floats.slices[index]
        with torch.no_grad():
            rows = next(cut.batches())
            execute(program, cut.feeds(program, rows), self._float_params, tap=look)
        return found

    def _tell(self, index: int, step: int) -> None:
        self.task.on_step(index * self.plan.steps + step, len(self.units) * self.plan.steps)


def _line(unit: Unit, units: Sequence[Unit], losses: Sequence[UnitLoss]) -> str:
    stage = [loss for x, loss in zip(units, losses, strict=False) if x.stage == unit.stage]
    of_unit = stage if unit.stage else stage[-1:]
    before = sum(x.before for x in of_unit) / len(of_unit)
    after = sum(x.after for x in of_unit) / len(of_unit)
    return f"{unit.stage or unit.name}: loss {before:.4g} to {after:.4g}, {len(of_unit)} units"
