"""Choices that are run, not estimated: their noise at the head, and an engine for their boxes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detq.detection import Detector
from detq.graph.execute import exact_float32, execute
from detq.tune.mixed import Choice, Mixed

_SILENT = 1e-30  # power of a signal that is not there


def head_noise(
    mixed: Mixed,
    choices: Sequence[Choice],
    batches: Iterable[NDArray[np.float32]],
    on_step: Callable[[int], None] = lambda images: None,
) -> list[float]:
    """Noise at the head relative to its signal, mean over images and outputs, of every choice.

    Args:
        mixed: the network in both forms.
        choices: what is INT8.
        batches: float32 [B, 3, H, W].
        on_step: told how many images are done.
    """
    programs = [mixed.program(choice, mixed.heads) for choice in choices]
    floated = mixed.program(Choice(), mixed.heads)
    noise, images = [0.0] * len(choices), 0
    with torch.inference_mode(), exact_float32():
        for batch in batches:
            feeds = {mixed.feed: torch.from_numpy(batch)}
            wanted = mixed.run(floated, feeds)
            for index, program in enumerate(programs):
                noise[index] += _noise(wanted, mixed.run(program, feeds))
            images += len(batch)
            on_step(images)
    return [total / max(images, 1) for total in noise]


def _noise(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> float:
    """Sum over images of the mean over outputs."""
    ratios = [
        (found[name] - head).square().flatten(1).sum(1).double()
        / head.square().flatten(1).sum(1).double().clamp_min(_SILENT)
        for name, head in wanted.items()
    ]
    return float(torch.stack(ratios).mean(0).sum())


class MixedRunner:
    """A ``Runner`` of one choice.

    Args:
        mixed: the network in both forms.
        choice: what is INT8.
    """

    def __init__(self, mixed: Mixed, choice: Choice) -> None:
        self.name = f"torch {torch.__version__}"
        self.detector: Detector = mixed.model.detector
        self.batch = mixed.model.batch
        self._mixed, self._program = mixed, mixed.program(choice, mixed.outputs)

    def __call__(self, images: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Run float32 [B, 3, H, W]."""
        feeds = {self._mixed.feed: torch.from_numpy(images)}
        with torch.inference_mode(), exact_float32():
            found = execute(self._program, feeds, self._mixed.params)
        return {name: tensor.contiguous().numpy() for name, tensor in found.items()}

    def __enter__(self) -> "MixedRunner":
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to free."""
