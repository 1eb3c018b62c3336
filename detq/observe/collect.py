"""Run the float graph and look at the tensors that will be rounded."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from detq.errors import CalibrationError
from detq.graph.execute import Program, compile_slice, exact_float32, execute, parameters
from detq.model import FloatModel
from detq.observe.checks import InputCheck, check_weights
from detq.stats import TensorStats, merge, side_by_side, stats_of

# Batches at a time; each takes the memory of a forward pass.
_WORKERS = 4


def collect(
    model: FloatModel,
    values: Collection[str],
    batches: Iterable[NDArray[np.float32]],
    on_step: Callable[[int], None] = lambda images: None,
) -> dict[str, TensorStats]:
    """Statistics of every named value over all images, in one pass.

    Several batches run at a time, each on its share of torch's threads: counting is done
    on one, and merging is exact, so nothing depends on which batch is done first.

    Args:
        model: the float network; memory is that of a few forward passes, whatever the
            number of images.
        values: names of the tensors to look at.
        batches: float32 [B, 3, H, W] as the network takes them.
        on_step: told the number of images after each batch.

    Raises:
        CalibrationError: a tensor is not finite, there was no image, or images do not have the
            range of the preprocessing.
        ModelError: weights are not finite.
    """
    graph = model.graph.graph
    check_weights(graph)
    check = InputCheck(model.detector.preprocessing, str(graph.inputs[0].name))
    joined = _joined_by_concat(graph, values)
    run = _Forward(graph, frozenset(values) - joined.keys())
    found: dict[str, TensorStats] = {}
    total = 0
    for images, seen in _at_a_time(run, _checked(check, batches)):
        for value, stats in seen.items():
            found[value] = merge(found[value], stats) if value in found else stats
        total += images
        on_step(images)
    if not total:
        raise CalibrationError("no image to calibrate with", hint="give at least one")
    check.close()
    for value, parts in joined.items():
        found[value] = side_by_side([found[part] for part in parts])
    return found


def _checked(
    check: InputCheck, batches: Iterable[NDArray[np.float32]]
) -> Iterator[NDArray[np.float32]]:
    for batch in batches:
        check.add(batch)
        yield batch
        del batch


class _Forward:
    """One batch through the network; runs in several threads at once."""

    def __init__(self, graph: ir.Graph, values: Collection[str]) -> None:
        self._input = str(graph.inputs[0].name)
        self._program: Program = compile_slice(graph, [self._input])
        self._parameters = parameters(self._program)
        self._values = values
        # Of a transformer the last dimension is the channels, of feature maps the first.
        self._last = {str(n.outputs[0].name) for n in graph if n.op_type == "LayerNormalization"}

    def __call__(self, batch: NDArray[np.float32]) -> tuple[int, dict[str, TensorStats]]:
        seen: dict[str, TensorStats] = {}

        def look(value: str, tensor: Tensor) -> Tensor:
            if value in self._values:
                array = tensor.movedim(-1, 1) if value in self._last else tensor
                seen[value] = stats_of(array.numpy(), value)
            return tensor

        with torch.inference_mode():
            feed = torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)
            execute(self._program, {self._input: feed}, self._parameters, tap=look)
        return len(batch), seen


def _at_a_time(
    run: _Forward, batches: Iterable[NDArray[np.float32]]
) -> Iterator[tuple[int, dict[str, TensorStats]]]:
    """Results in the order of the batches, no more of which are asked for than can be run."""
    threads = torch.get_num_threads()
    workers = min(threads, _WORKERS)
    share = threads // workers
    running: deque[Future[tuple[int, dict[str, TensorStats]]]] = deque()
    with (
        exact_float32(),
        ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(share,)) as pool,
    ):
        try:
            for batch in batches:
                if len(running) == workers:
                    yield running.popleft().result()
                running.append(pool.submit(run, batch))
                del batch
            while running:
                yield running.popleft().result()
        finally:
            torch.set_num_threads(threads)  # for threads to come; the setting is not per thread


def _joined_by_concat(graph: ir.Graph, values: Collection[str]) -> dict[str, list[str]]:
    """Tensors whose statistics follow from those of their parts, in the order of the graph."""
    concats = (node for node in graph if node.op_type == "Concat")
    parts = {
        str(node.outputs[0].name): [str(x.name) for x in node.inputs if x is not None]
        for node in concats
        if node.attributes["axis"].value == 1
    }
    return {
        name: names
        for name, names in parts.items()
        if name in values and all(part in values for part in names)
    }
