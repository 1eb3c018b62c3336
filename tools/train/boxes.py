"""Overlap of boxes given as left, top, right, bottom."""

from torch import Tensor, maximum, minimum

TINY = 1e-7


def area(boxes: Tensor) -> Tensor:
    """Areas [...] of boxes [..., 4]; 0 where a side is turned inside out."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union [...] of boxes [..., 4], broadcast."""
    shared, union = _shared_and_union(a, b)
    return shared / union


def generalized_overlap(a: Tensor, b: Tensor) -> Tensor:
    """GIoU [...], -1 to 1 (arXiv 1902.09630, algorithm 1)."""
    shared, union = _shared_and_union(a, b)
    hull = (maximum(a[..., 2:], b[..., 2:]) - minimum(a[..., :2], b[..., :2])).clamp(min=0)
    around = hull.prod(-1) + TINY
    return shared / union - (around - union) / around


def _shared_and_union(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    near, far = maximum(a[..., :2], b[..., :2]), minimum(a[..., 2:], b[..., 2:])
    shared = (far - near).clamp(min=0).prod(-1)
    return shared, area(a) + area(b) - shared + TINY
