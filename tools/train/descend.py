"""The training itself: AdamW with warm-up and a cosine, averaged weights, a file now and then."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from tools.train.losses import BOX_WEIGHT, centres_of, detection_losses
from tools.train.network import Model
from tools.train.samples import Truth

Tensors = tuple[Tensor, ...] | list[Tensor]

MEMORY = 0.998  # of the averaged weights, once the start is forgotten
LONGEST_GRADIENT = 10.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to learn.

    Attributes:
        steps: batches in all.
        rate: highest learning rate.
        warmup: steps until it is reached.
        decay: of weights of convolutions; gains and biases do not decay.
    """

    steps: int
    rate: float = 2e-3
    warmup: int = 200
    decay: float = 0.02

    def factor(self, step: int) -> float:
        """Of the highest rate: linear up, then half a cosine down to 2 %."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.02 + 0.98 * (1 + math.cos(math.pi * min(done, 1.0))) / 2


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the training stands: steps done, mean losses since the last report, seconds."""

    step: int
    class_loss: float
    box_loss: float
    seconds: float


def learn(
    model: Model,
    batches: Iterator[tuple[Tensor, list[Truth]]],
    schedule: Schedule,
    report: Callable[[Progress, Model], None],
    *,
    every: int = 100,
) -> Model:
    """Train a model in place and return its averaged twin, on the device of the model.

    Args:
        model: fresh; ``prepare`` has set its predictions.
        batches: one for every step, at least.
        schedule: how long and how fast.
        report: called every so many steps with the averaged model.
        every: steps between reports.
    """
    average = AveragedModel(model, multi_avg_fn=_remember, use_buffers=True)
    averaged = cast(Model, average.module)
    optimizer = torch.optim.AdamW(_groups(model, schedule.decay), lr=schedule.rate)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.factor)
    device = next(model.parameters()).device
    # With several processes each has its part of a batch, and gradients are averaged.
    run = DistributedDataParallel(model) if distributed.is_initialized() else model
    start, sums = time.monotonic(), [0.0, 0.0]
    for step in range(1, schedule.steps + 1):
        images, truth = next(batches)
        truth = [(boxes.to(device), classes.to(device)) for boxes, classes in truth]
        logits, boxes = run.train()(images.to(device))
        centres = centres_of(*images.shape[2:]).to(device)
        losses = detection_losses(logits, boxes, centres, truth)
        optimizer.zero_grad()
        (losses[0] + BOX_WEIGHT * losses[1]).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), LONGEST_GRADIENT)
        optimizer.step()
        rates.step()
        average.update_parameters(model)
        sums = [total + loss.item() for total, loss in zip(sums, losses, strict=True)]
        if step % every == 0 or step == schedule.steps:
            of_class, of_box = (total / ((step - 1) % every + 1) for total in sums)
            report(Progress(step, of_class, of_box, time.monotonic() - start), averaged.eval())
            sums = [0.0, 0.0]
    return averaged.eval()


def prepare(model: Model) -> None:
    """Scores near 0.01 and boxes of two cells before anything is learned."""
    predictions = zip(model.detect.cls_preds, model.detect.reg_preds, strict=True)
    for of_class, of_box in cast(Iterable[tuple[nn.Conv2d, nn.Conv2d]], predictions):
        if of_class.bias is None or of_box.bias is None:
            raise AssertionError("predictions have a bias")
        nn.init.zeros_(of_class.weight)
        nn.init.constant_(of_class.bias, -math.log(99))
        nn.init.zeros_(of_box.weight)
        nn.init.constant_(of_box.bias, 1.0)


def _remember(averaged: Tensors, current: Tensors, count: Tensor | int) -> None:
    """Exponential mean of weights and statistics; in the beginning, the plain mean of few."""
    memory = min(MEMORY, (1 + int(count)) / (10 + int(count)))
    for mean, new in zip(averaged, current, strict=True):
        if mean.is_floating_point():
            mean.lerp_(new, 1 - memory)
        else:
            mean.copy_(new)


def _groups(model: nn.Module, decay: float) -> list[dict[str, object]]:
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
