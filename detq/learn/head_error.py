"""How far a quantized network is from the float one where it counts: in front of decoding."""

from collections.abc import Mapping
from math import log10

import onnx_ir as ir
import torch
from torch import Tensor

from detq.graph.execute import compile_slice, exact_float32, execute, fold_constants, parameters
from detq.learn.learned import Task
from detq.learn.units import head_values
from detq.quantized import QuantizedModel

_SILENCE = 1e-20  # noise over signal, below which it is rounding of float32 sums


class HeadError:
    """Signal to noise of class logits and distances, over the images of a task.

    The float network runs once for all models that are asked about.

    Args:
        task: float model and images.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        graph = task.floated.graph.graph
        self._heads = head_values(graph)
        self._wanted = self._run(graph)

    def snr_db(self, model: QuantizedModel) -> float:
        """Σ float² over Σ difference² in dB, mean over the head's outputs."""
        found = self._run(model.graph.graph)
        ratios = []
        for name, wanted in self._wanted.items():
            signal = max(float(wanted.double().square().sum()), 1e-30)
            noise = float((found[name] - wanted).double().square().sum())
            ratios.append(-10 * log10(max(noise / signal, _SILENCE)))
        return sum(ratios) / len(ratios)

    def _run(self, graph: ir.Graph) -> Mapping[str, Tensor]:
        name = str(graph.inputs[0].name)
        program = compile_slice(graph, [name], self._heads)
        params = parameters(program)
        found: dict[str, list[Tensor]] = {head: [] for head in self._heads}
        with torch.inference_mode(), exact_float32():
            program = fold_constants(program, params)
            for start in range(0, len(self._task.images), self._task.batch):
                images = torch.from_numpy(self._task.images[start : start + self._task.batch])
                feed = images.contiguous(memory_format=torch.channels_last)
                for head, tensor in execute(program, {name: feed}, params).items():
                    found[head].append(tensor)
        return {head: torch.cat(parts) for head, parts in found.items()}
