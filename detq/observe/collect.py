"""Run the float graph and look at the tensors that will be rounded."""

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detq.errors import CalibrationError
from detq.graph.execute import compile_slice, exact_float32, execute, parameters
from detq.model import FloatModel
from detq.stats import TensorStats, merge, stats_of

# Elements below which handing a part to another thread takes longer than counting it.
_WORTH_SHARING = 1 << 40


def collect(
    model: FloatModel,
    values: Collection[str],
    batches: Iterable[NDArray[np.float32]],
    on_step: Callable[[int], None] = lambda images: None,
) -> dict[str, TensorStats]:
    """Statistics of every named value over all images, in one pass.

    Args:
        model: the float network; memory is that of one forward pass, whatever the number
            of images.
        values: names of the tensors to look at.
        batches: float32 [B, 3, H, W] as the network takes them.
        on_step: told the number of images after each batch.

    Raises:
        CalibrationError: a tensor is not finite, or there was no image.
    """
    graph = model.graph.graph
    name = str(graph.inputs[0].name)
    program = compile_slice(graph, [name])
    params = parameters(program)
    wanted = frozenset(values)
    found: dict[str, TensorStats] = {}
    images = 0

    def look(value: str, tensor: Tensor) -> Tensor:
        if value in wanted:
            seen = _stats_in_parts(tensor.numpy(), value, pool)
            found[value] = merge(found[value], seen) if value in found else seen
        return tensor

    with (
        ThreadPoolExecutor(torch.get_num_threads()) as pool,
        torch.inference_mode(),
        exact_float32(),
    ):
        for batch in batches:
            feed = torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)
            execute(program, {name: feed}, params, tap=look)
            images += len(batch)
            on_step(len(batch))
    if not images:
        raise CalibrationError("no image to calibrate with", hint="give at least one")
    return found


def _stats_in_parts(x: NDArray[np.float32], value: str, pool: ThreadPoolExecutor) -> TensorStats:
    """The images shared out among threads: merging is exact, so nothing depends on how."""
    parts = min(torch.get_num_threads(), len(x), 1 + x.size // _WORTH_SHARING)
    if parts == 1:
        return stats_of(x, value)
    return reduce(merge, pool.map(partial(stats_of, name=value), np.array_split(x, parts)))
