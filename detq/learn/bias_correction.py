"""Bias correction: the mean that rounding moved, given back to the bias of every layer."""

import torch
from torch import Tensor

from detq.learn.in_order import Moments, correct_in_order
from detq.learn.learned import Learned, Task
from detq.recipe import BiasCorrection


def bias_correction(task: Task, options: BiasCorrection) -> Learned:
    """Shift every channel's mean to that of the float network, in the order of the graph."""
    return correct_in_order(task, same_mean)


def same_mean(seen: Moments, per_channel: bool) -> tuple[Tensor, Tensor]:
    """No gain, and the shift between the means."""
    return torch.ones_like(seen.cov), seen.mean_y - seen.mean_u
