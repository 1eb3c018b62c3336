"""QPRep in closed form: the affine behind each convolution that least squares give.

With the moments of a channel's quantized output ``u`` and float output ``y`` over the images::

    gain = cov(u, y) / var(u)      shift = mean(y) - gain mean(u)

A layer with one weight scale in all has one gain, the least squares over all its channels.
"""

import torch
from torch import Tensor

from detq.learn.in_order import Moments, correct_in_order
from detq.learn.learned import Learned, Task
from detq.recipe import QPRep

_DEAD = 1e-12  # of the largest variance of a channel in the layer


def qprep(task: Task, options: QPRep) -> Learned:
    """Gain and shift of every INT8 layer from one pass over the images."""
    return correct_in_order(task, least_squares)


def least_squares(seen: Moments, per_channel: bool) -> tuple[Tensor, Tensor]:
    """Gain and shift [channels]; a channel that does not vary keeps a gain of 1."""
    cov, var = seen.cov, seen.var_u
    if not per_channel:
        cov, var = (x.sum().expand_as(x) for x in (cov, var))
    alive = var > _DEAD * var.max()
    gain = torch.where(alive, cov / torch.where(alive, var, 1.0), 1.0)
    return gain, seen.mean_y - gain * seen.mean_u
