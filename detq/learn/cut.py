"""A place in a graph that moves from unit to unit, with the values of all images there."""

from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir
import torch
from torch import Tensor

from detq.graph.execute import Program, compile_slice, execute
from detq.graph.ops import TABLE, Operator
from detq.learn.store import Store
from detq.learn.units import Unit

Params = Mapping[str, Tensor]


class Cut:
    """Every image goes through every unit once, however many units there are.

    Args:
        graph: float or Q/DQ; its one input is in the store.
        units: in the order of the graph.
        store: for the values at the cut.
        batch: images at a time.
        table: operators.
    """

    def __init__(
        self,
        graph: ir.Graph,
        units: Sequence[Unit],
        store: Store,
        batch: int,
        table: Mapping[str, Operator] = TABLE,
    ) -> None:
        self.store, self._batch = store, batch
        known = [str(graph.inputs[0].name)]
        self.slices: list[Program] = []
        self.rests: list[Program] = []
        for unit in units:
            self.slices.append(compile_slice(graph, known, unit.outputs, table=table))
            known += [name for name in unit.outputs if name not in known]
            self.rests.append(compile_slice(graph, known, unit.ends, table=table))
        self._known = frozenset(known)
        self._needed_until: dict[str, int] = {}
        for i, program in enumerate(self.slices):
            rest = self.rests[i]
            read = (*self.reads(program), *self.reads(rest))
            self._needed_until.update(dict.fromkeys((*read, *program.outputs, *rest.outputs), i))

    def reads(self, program: Program) -> tuple[str, ...]:
        """Values that a slice takes from the cut."""
        touched = {name for step in program.steps for name in step.inputs if name is not None}
        made = {name for step in program.steps for name in step.outputs}
        return tuple(sorted((touched.union(program.outputs) - made) & self._known))

    def feeds(self, program: Program, rows: slice | Tensor, made: Params | None = None) -> Params:
        """Its inputs for some images; ``made`` go before what is stored."""
        made = made or {}
        return {
            name: made[name] if name in made else self.store.read(name, rows)
            for name in self.reads(program)
        }

    def batches(self) -> Iterator[slice]:
        """All images in their order."""
        for start in range(0, self.store.count, self._batch):
            yield slice(start, min(start + self._batch, self.store.count))

    def run(self, program: Program, params: Params) -> Iterator[tuple[slice, Params]]:
        """A slice for all images, batch by batch."""
        for rows in self.batches():
            with torch.no_grad():  # not around the yield: the mode would reach the caller
                made = execute(program, self.feeds(program, rows), params)
            yield rows, made

    def advance(self, index: int, params: Params) -> None:
        """Keep what unit ``index`` makes."""
        self.keep(self.slices[index], params)

    def keep(self, program: Program, params: Params) -> None:
        """Keep what a slice makes, unless it is there."""
        if all(name in self.store for name in program.outputs):
            return
        for rows, made in self.run(program, params):
            for name in program.outputs:
                self.store.write(name, rows.start, made[name])

    def hold_until(self, name: str, index: int) -> None:
        """Do not forget a value before unit ``index`` is done."""
        self._needed_until[name] = max(index, self._needed_until.get(name, index))

    def leave(self, index: int) -> None:
        """Forget what no unit after ``index`` reads."""
        for name in self.store.names():
            if self._needed_until.get(name, index) <= index:
                self.store.drop(name)
