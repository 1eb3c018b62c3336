"""What a learner is given, and what it gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detq.graph.execute import compile_slice, parameters
from detq.learn.store import Store
from detq.model import FloatModel
from detq.quantized import QuantizedModel

GIB = 1 << 30
_AT_A_TIME = 8


@dataclass(frozen=True)
class UnitLoss:
    """The loss of a layer, block or stage on all images.

    Attributes:
        name: of the unit.
        before: with the parameters it had, behind the learned ones of the units before.
        after: with those it has now; never above ``before``.
    """

    name: str
    before: float
    after: float


@dataclass(frozen=True)
class Learned:
    """A quantized model and how it came to be.

    Attributes:
        model: same structure, other parameters.
        losses: of the units, in their order.
    """

    model: QuantizedModel
    losses: tuple[UnitLoss, ...]


@dataclass(frozen=True)
class Task:
    """A quantized model to better, and what to go by.

    Attributes:
        quantized: the start; left alone.
        floated: the float model it was made from; the values of both bear the same names.
        images: float32 [N, 3, H, W] as the network takes them.
        fixed_batch: images the network takes at a time, N a multiple of them; None for any.
        cache_gib: memory for values of all images; what goes beyond lies on disk.
        on_step: told how many steps are done, and of how many.
        note: told a line about each stage.
        resume: file that keeps finished stages, so that a killed run goes on; none if None.
        key: what made the start; finished stages of another key are not used.
    """

    quantized: QuantizedModel
    floated: FloatModel
    images: NDArray[np.float32]
    fixed_batch: int | None = None
    cache_gib: float = 4.0
    on_step: Callable[[int, int], None] = lambda done, total: None
    note: Callable[[str], None] = lambda text: None
    resume: Path | None = None
    key: str = ""

    @property
    def batch(self) -> int:
        """Images at a time where the result does not depend on it."""
        return self.fixed_batch or _AT_A_TIME

    def stores(self, device: str) -> tuple[Store, Store]:
        """For the values of the float graph and of the quantized one; the images lie in both."""
        budget = int(self.cache_gib * GIB / 2)
        found = []
        for graph in (self.floated.graph.graph, self.quantized.graph.graph):
            store = Store(len(self.images), budget, device)
            store.hold(str(graph.inputs[0].name), torch.from_numpy(self.images))
            found.append(store)
        return found[0], found[1]

    def float_parameters(self, device: str) -> Mapping[str, Tensor]:
        """Of the float graph."""
        graph = self.floated.graph.graph
        return parameters(compile_slice(graph, [str(graph.inputs[0].name)]), device=device)
