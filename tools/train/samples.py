"""Batches to learn from: the same seed gives the same ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

MOST = 9  # objects on a drawn picture: the more, the more is learned from each

Truth = tuple[Tensor, Tensor]  # boxes float32 [G, 4] in pixels, classes int64 [G]


@dataclass(frozen=True, slots=True)
class Sample:
    """One image and what is on it.

    Attributes:
        image: uint8 RGB [height, width, 3].
        boxes: left, top, right, bottom in pixels, float32 [G, 4].
        classes: int64 [G].
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]


@dataclass(frozen=True)
class Drawn:
    """Samples by number from the generator of the demo set.

    Attributes:
        seed: of the pictures.
        size: side of them in pixels.
    """

    seed: int
    size: int

    def __call__(self, number: int) -> Sample:
        """The sample with this number."""
        from detq_eval.demo_set.scene import draw_scene

        scene = draw_scene(self.seed, number, self.size, self.size, most=MOST)
        return Sample(scene.image, scene.boxes.astype(np.float32), scene.classes)


class _Stream(Dataset[Sample]):
    """A part of the samples; handed whole to the processes that make samples."""

    def __init__(self, sample: Callable[[int], Sample], count: int, part: tuple[int, int]):
        self.sample, self.count, self.part = sample, count, part

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Sample:
        first, step = self.part
        return self.sample(first + number * step)


def batches(
    sample: Callable[[int], Sample],
    count: int,
    size: int,
    *,
    workers: int = 0,
    part: tuple[int, int] = (0, 1),
) -> Iterator[tuple[Tensor, list[Truth]]]:
    """Images float32 [size, 3, H, W], 0 to 1, and the truth of each, in the samples' order.

    Args:
        sample: makes the sample of a number.
        count: of samples in this part; those beyond a multiple of the size are left out.
        size: images in a batch.
        workers: processes that make samples; the batches do not depend on it.
        part: which of how many parts: number 0 of 2 has samples 0, 2, 4 and on.
    """
    stream = _Stream(sample, count, part)
    return iter(DataLoader(stream, size, num_workers=workers, collate_fn=_joined, drop_last=True))


def _joined(found: list[Sample]) -> tuple[Tensor, list[Truth]]:
    # Contiguous in the order of the network: some builds of torch crash on its gradient.
    images = np.ascontiguousarray(np.stack([s.image for s in found]).transpose(0, 3, 1, 2))
    truth = [(torch.from_numpy(s.boxes), torch.from_numpy(s.classes)) for s in found]
    return torch.from_numpy(images).float() / 255, truth
