"""What the training makes small: varifocal loss of scores, GIoU loss of boxes."""

import torch
from torch import Tensor
from torch.nn import functional

from tools.train.assign import Wanted, assign
from tools.train.boxes import generalized_overlap
from tools.train.network import STRIDES, cell_centres

BOX_WEIGHT = 2.5
EMPTY_WEIGHT, EMPTY_POWER = 0.75, 2.0  # alpha and gamma of the varifocal loss


def varifocal(logits: Tensor, wanted: Tensor) -> Tensor:
    """Cross entropy, summed; the easy empty places count little (arXiv 2008.13367, eq. 2).

    Args:
        logits: any shape.
        wanted: of the same shape, 0 to 1.
    """
    empty = EMPTY_WEIGHT * logits.sigmoid() ** EMPTY_POWER
    weight = torch.where(wanted > 0, wanted, empty)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (weight * entropy).sum()


def detection_losses(
    logits: Tensor, boxes: Tensor, centres: Tensor, truth: list[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Losses of scores and boxes of a batch, per unit of wanted score, without weights.

    Args:
        logits: [N, L, classes].
        boxes: [N, L, 4], pixels.
        centres: of the cells [L, 2], pixels.
        truth: boxes [G, 4] and classes [G] of each image.
    """
    wanted = [
        assign(row.detach().sigmoid(), found.detach(), centres, *true)
        for row, found, true in zip(logits, boxes, truth, strict=True)
    ]
    scores = torch.stack([w.scores for w in wanted])
    total = scores.sum().clamp(min=1)
    pairs = zip(boxes, wanted, strict=True)
    off = torch.stack([_box_loss(found, w) for found, w in pairs]).sum()
    return varifocal(logits, scores) / total, off / total


def centres_of(height: int, width: int) -> Tensor:
    """Centres in pixels of all cells of all levels [L, 2], finest level first."""
    return torch.cat([cell_centres(height // s, width // s, s) for s in STRIDES], 1).T


def _box_loss(boxes: Tensor, wanted: Wanted) -> Tensor:
    """1 - GIoU of the rows that learn an object, weighted by their wanted score."""
    weights = wanted.scores.sum(1)[wanted.on]
    shared = generalized_overlap(boxes[wanted.on], wanted.boxes[wanted.on])
    return ((1 - shared) * weights).sum()
