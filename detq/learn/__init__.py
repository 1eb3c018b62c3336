"""Parameters of a quantized model learned from images, without labels.

A learner changes the content of initializers: integer weights, scales, biases. The structure
of the Q/DQ graph and the float model stay as they are, tensors that share a scale go on
sharing it, and no layer, block or stage ends with a higher loss than it began with.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from detq.errors import TargetUnavailableError
from detq.learn.across_blocks import across_blocks
from detq.learn.adaround import adaround
from detq.learn.bias_correction import bias_correction
from detq.learn.head_error import HeadError
from detq.learn.learned import Learned, Task, UnitLoss
from detq.learn.qprep import qprep
from detq.learn.qprep_learned import qprep_learned
from detq.quantized import QuantizedModel
from detq.recipe import LearnMethod

__all__ = ["LEARNERS", "Learned", "Outcome", "Task", "UnitLoss", "learn"]

# Name in a recipe → learner; its second argument is the recipe's struct of that name.
LEARNERS: Mapping[str, Callable[[Task, Any], Learned]] = {
    "abc": across_blocks,
    "adaround": adaround,
    "bias_correction": bias_correction,
    "qprep": qprep,
    "qprep_learned": qprep_learned,
}


@dataclass(frozen=True)
class Outcome:
    """What a learner did, for the result of a run.

    Attributes:
        method: its options.
        images: learned from.
        kept: whether the model is the learned one; the start if that was nearer to the float
            network in front of decoding.
        snr_db_before: signal to noise of what is decoded, on the images, at the start.
        snr_db_after: of the learned model, kept or not.
        losses: of all units.
        seconds: it took.
    """

    method: LearnMethod
    images: int
    kept: bool
    snr_db_before: float
    snr_db_after: float
    losses: tuple[UnitLoss, ...]
    seconds: float


def learn(task: Task, options: LearnMethod) -> tuple[QuantizedModel, Outcome]:
    """Run a learner; its model, or the start where the whole network is worse for it.

    Raises:
        TargetUnavailableError: the device is not there.
    """
    if getattr(options, "device", "cpu") == "cuda" and not torch.cuda.is_available():
        raise TargetUnavailableError(
            "torch finds no CUDA device",
            where=f"learner {options.__struct_config__.tag}",
            hint="set its device to cpu in the recipe",
        )
    started = time.perf_counter()
    error = HeadError(task)
    found = LEARNERS[str(options.__struct_config__.tag)](task, options)
    before, after = (error.snr_db(model) for model in (task.quantized, found.model))
    kept = after >= before
    outcome = Outcome(
        options,
        len(task.images),
        kept,
        before,
        after,
        found.losses,
        time.perf_counter() - started,
    )
    return found.model if kept else task.quantized, outcome
