"""Task-aligned assignment: which cells learn which object (TOOD, arXiv 2108.07755, §3.2)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tools.train.boxes import overlap

SCORE_POWER, OVERLAP_POWER = 1.0, 6.0  # alpha and beta of the paper's alignment
MOST = 13  # cells that learn one object
TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the cells of one image are to say.

    Attributes:
        scores: [L, classes], 0 to 1; one number per row at most is above 0.
        boxes: [L, 4]; those of rows that learn no object mean nothing.
        on: which rows learn an object, bool [L].
    """

    scores: Tensor
    boxes: Tensor
    on: Tensor


@torch.no_grad()
def assign(
    scores: Tensor, boxes: Tensor, centres: Tensor, true_boxes: Tensor, true_classes: Tensor
) -> Wanted:
    """Give each object the cells inside it that are best aligned with it.

    Alignment is ``score**1 * IoU**6``. A cell that two objects ask for learns the one it
    overlaps more. An object's best cell is to score its highest IoU, the others in proportion
    to their alignment. An object without a cell centre inside is not learned.

    Args:
        scores: predicted, 0 to 1 [L, classes].
        boxes: predicted [L, 4], pixels.
        centres: of the cells [L, 2], pixels.
        true_boxes: [G, 4], pixels.
        true_classes: int64 [G].
    """
    wanted = torch.zeros_like(scores)
    if not len(true_boxes):
        return Wanted(wanted, torch.zeros_like(boxes), wanted.new_zeros(len(boxes)).bool())
    points, corners = centres[None], true_boxes[:, None]
    inside = ((points > corners[..., :2]) & (points < corners[..., 2:])).all(-1)
    shared = overlap(corners, boxes[None]) * inside
    aligned = scores.T[true_classes] ** SCORE_POWER * shared**OVERLAP_POWER  # [G, L]
    best = aligned.topk(min(MOST, aligned.shape[1]), 1).indices
    chosen = torch.zeros_like(inside).scatter_(1, best, True) & (aligned > 0)
    owner = torch.where(chosen, shared, -1.0).argmax(0)
    on = chosen.any(0)
    chosen = chosen & (torch.arange(len(true_boxes), device=on.device)[:, None] == owner[None])
    aligned = aligned * chosen
    top = aligned.amax(1, keepdim=True)
    share = aligned / (top + TINY) * (shared * chosen).amax(1, keepdim=True)
    rows = on.nonzero()[:, 0]
    wanted[rows, true_classes[owner[rows]]] = share[owner[rows], rows]
    return Wanted(wanted, true_boxes[owner], on)
