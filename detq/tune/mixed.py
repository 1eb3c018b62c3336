"""One network in which every layer and every rounded edge is float or INT8 by itself.

An edge is a node and a rounded tensor that it reads. The Q/DQ graph holds both forms of the
tensor, so a program with an edge in float reads the one in front of Q. Weights and biases of a
float layer are the float network's: those of the file may have been learned.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir
import torch
from torch import Tensor

from detq.graph.execute import Program, Step, compile_slice, execute, fold_constants, parameters
from detq.graph.qdq import pair_behind
from detq.graph.slices import values_by_name
from detq.idle_factors import without_idle_factors
from detq.learn.units import head_values
from detq.model import FloatModel
from detq.plan import Layer, Placement

Edge = tuple[str, str]  # node that reads, name of the tensor in front of Q

SEPARATE = "@"  # ends the name of a float tensor as its rounded edges read it


@dataclass(frozen=True, slots=True)
class Choice:
    """What is INT8.

    Attributes:
        edges: that read the rounded tensor.
        layers: whose weights are integers.
    """

    edges: frozenset[Edge] = frozenset()
    layers: frozenset[str] = frozenset()


class Mixed:
    """A quantized network with its float one inside.

    Args:
        model: float network that ``placement`` was made for.
        quantized: the file, float32 as the target ``plain`` has it; it may have been learned.
        placement: of the file.
    """

    def __init__(self, model: FloatModel, quantized: ir.Model, placement: Placement) -> None:
        self.model = without_idle_factors(model, placement)
        self.placement = placement
        graph = quantized.graph
        self.feed = str(graph.inputs[0].name)
        self.heads = head_values(self.model.graph.graph)
        self.outputs = tuple(str(value.name) for value in graph.outputs)
        wanted = list(dict.fromkeys([*self.heads, *self.outputs]))
        program = compile_slice(graph, [self.feed], wanted)
        self.params = parameters(program)
        with torch.inference_mode():
            self._steps = fold_constants(program, self.params).steps
        self._sources = _sources(graph)
        self._float_inputs = self._read_float(wanted)
        edges = (
            (step.node, self._sources.get(x or "")) for step in self._steps for x in step.inputs
        )
        self.everything = Choice(
            frozenset((node, source) for node, source in edges if source is not None),
            frozenset(self._float_inputs),
        )

    def _read_float(self, wanted: Sequence[str]) -> Mapping[str, tuple[str | None, ...]]:
        """INT8 layer → names of its float weights and bias, which become parameters."""
        program = compile_slice(self.model.graph.graph, [self.feed], wanted)
        known = parameters(program)
        int8 = {layer.node for layer in self.placement.layers if layer.int8}
        found = {}
        for step in program.steps:
            if step.node in int8:
                names = [None if name is None else f"float:{name}" for name in step.inputs[1:]]
                found[step.node] = tuple(names)
                pairs = zip(names, step.inputs[1:], strict=True)
                self.params.update((a, known[b]) for a, b in pairs if a and b)
        return found

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The INT8 layers of the file, in the order of the graph."""
        return tuple(one for one in self.placement.layers if one.node in self._float_inputs)

    def input_of(self, layer: str) -> str:
        """Name of the tensor in front of the Q of an INT8 layer."""
        return self._sources[str(self._step(layer).inputs[0])]

    def output_of(self, layer: str) -> str:
        """Name of what a layer gives, in front of its activation."""
        return self._step(layer).outputs[0]

    def _step(self, layer: str) -> Step:
        return next(step for step in self._steps if step.node == layer)

    def alone(self, layer: str) -> Choice:
        """One INT8 layer; the others that read its input read it as float."""
        return Choice(frozenset({(layer, self.input_of(layer))}), frozenset({layer}))

    def group(self, name: str) -> Choice:
        """The tensors of one tie group rounded, all weights float."""
        members = {point.value for point in self.placement.groups[name]}
        return Choice(frozenset(edge for edge in self.everything.edges if edge[1] in members))

    def without(self, layers: Collection[str], kept: Placement) -> Choice:
        """Everything but some layers.

        Args:
            layers: that are float.
            kept: a placement made with these layers float: tensors that were rounded for them
                alone are not rounded there.
        """
        rounded = {(node, p.value) for p in kept.points for node in p.consumers}
        return Choice(self.everything.edges & rounded, self.everything.layers - frozenset(layers))

    def program(
        self,
        choice: Choice,
        outputs: Sequence[str],
        feeds: Sequence[str] = (),
        *,
        apart: bool = False,
    ) -> Program:
        """Ready to run with ``params``.

        Args:
            choice: what is INT8.
            outputs: names of the values wanted.
            feeds: names of the values given; the images if none.
            apart: float tensors get a second name for their rounded edges, ending in
                ``SEPARATE``, which a tap can tell from what other nodes read.
        """
        steps = []
        for step in self._steps:
            inputs = tuple(self._input(step.node, name, choice, apart) for name in step.inputs)
            if step.node in self._float_inputs and step.node not in choice.layers:
                inputs = (inputs[0], *self._float_inputs[step.node])
            steps.append(replace(step, inputs=inputs))
        if apart:
            steps = list(_with_copies(steps, self.feed))
        return _pruned(steps, outputs, set(feeds or [self.feed]), set(self.params))

    def _input(self, node: str, name: str | None, choice: Choice, apart: bool) -> str | None:
        source = self._sources.get(name or "")
        if source is None or (node, source) in choice.edges:
            return name
        return f"{source}{SEPARATE}" if apart else source

    def run(self, program: Program, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a program of this network."""
        return execute(program, feeds, self.params)


def _sources(graph: ir.Graph) -> Mapping[str, str]:
    """Name of every rounded value → name of the tensor in front of its Q.

    A grid that is narrower than its type ends in a Clip, which is part of the rounding.
    """
    found, inside = {}, set()
    for name, value in values_by_name(graph).items():
        behind: ir.Value | None = value
        node = value.producer()
        if node is not None and node.op_type == "Clip" and name.endswith(".saturate"):
            behind = node.inputs[0]
            inside.add(str(behind.name) if behind is not None else "")
        pair = pair_behind(behind)
        if pair is not None:
            found[name] = str(pair.tensor.name)
    return {name: source for name, source in found.items() if name not in inside}


def _with_copies(steps: Sequence[Step], feed: str) -> list[Step]:
    """A step behind every tensor that is read under its second name."""
    read = {name for step in steps for name in step.inputs if name and name.endswith(SEPARATE)}

    def copies(names: Sequence[str]) -> list[Step]:
        asked = [name for name in names if f"{name}{SEPARATE}" in read]
        return [Step(_same, (n,), (f"{n}{SEPARATE}",), {}, (), f"{n}{SEPARATE}") for n in asked]

    return [*copies([feed]), *(one for step in steps for one in (step, *copies(step.outputs)))]


def _same(x: Tensor) -> Tensor:
    return x


def _pruned(
    steps: Sequence[Step], outputs: Sequence[str], given: set[str], constants: set[str]
) -> Program:
    """The steps that ``outputs`` need, each with what nobody reads after it."""
    needed, keep = set(outputs), {*outputs, *constants}
    left: list[Step] = []
    read: set[str] = set()
    for step in reversed(steps):
        if not needed & (set(step.outputs) - given):
            continue
        inputs = {name for name in step.inputs if name is not None}
        needed |= inputs
        touched = {*inputs, *step.outputs}
        left.append(replace(step, last_use=tuple(sorted(touched - read - keep))))
        read |= touched
    return Program(tuple(reversed(left)), tuple(outputs), {})
