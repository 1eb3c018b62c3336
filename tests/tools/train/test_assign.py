"""Task-aligned assignment against its definition, object by object and cell by cell."""

import pytest

torch = pytest.importorskip("torch", reason="the trainer runs in torch")

from torch import Tensor  # noqa: E402

from tools.train.assign import MOST, assign  # noqa: E402
from tools.train.boxes import overlap  # noqa: E402
from tools.train.losses import centres_of  # noqa: E402

SIDE = 96
CLASSES = 3
TOLERANCE = 1e-5


def scene(seed: int, objects: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Predicted scores and boxes, cell centres, true boxes and classes."""
    draw = torch.Generator().manual_seed(seed)
    centres = centres_of(SIDE, SIDE)
    scores = torch.rand(len(centres), CLASSES, generator=draw)
    corner = torch.rand(objects, 2, generator=draw) * 50
    true = torch.cat([corner, corner + 12 + torch.rand(objects, 2, generator=draw) * 34], 1)
    near = true[torch.randint(objects, (len(centres),), generator=draw)]
    found = near + torch.randn(near.shape, generator=draw) * 4
    classes = torch.randint(CLASSES, (objects,), generator=draw)
    return scores, found, centres, true, classes


def slowly(
    scores: Tensor, boxes: Tensor, centres: Tensor, true: Tensor, classes: Tensor
) -> tuple[Tensor, dict[int, int]]:
    """Wanted scores [L, classes], and the object of each cell that learns one."""
    asked: dict[int, list[tuple[float, int]]] = {}
    for g, box in enumerate(true):
        inside = [
            i for i, (x, y) in enumerate(centres.tolist())
            if box[0] < x < box[2] and box[1] < y < box[3]
        ]  # fmt: skip
        aligned = {
            i: float(scores[i, classes[g]]) * float(overlap(box, boxes[i])) ** 6 for i in inside
        }
        best = [i for i in sorted(inside, key=lambda i: -aligned[i])[:MOST] if aligned[i] > 0]
        for i in best:
            asked.setdefault(i, []).append((float(overlap(box, boxes[i])), g))
    owner = {i: max(wishes)[1] for i, wishes in asked.items()}
    wanted = torch.zeros_like(scores)
    for g, box in enumerate(true):
        cells = [i for i, taken in owner.items() if taken == g]
        shared = {i: float(overlap(box, boxes[i])) for i in cells}
        aligned = {i: float(scores[i, classes[g]]) * shared[i] ** 6 for i in cells}
        for i in cells:
            share = aligned[i] / (max(aligned.values()) + 1e-9)
            wanted[i, classes[g]] = share * max(shared.values())
    return wanted, owner


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_definition(seed: int) -> None:
    given = scene(seed, objects=4)
    wanted, owner = slowly(*given)
    found = assign(*given)
    assert set(found.on.nonzero()[:, 0].tolist()) == set(owner)
    torch.testing.assert_close(found.scores, wanted, atol=TOLERANCE, rtol=0)
    for cell, number in owner.items():
        assert torch.equal(found.boxes[cell], given[3][number])


def test_cells_in_two_objects_learn_one() -> None:
    scores, boxes, centres, true, _ = scene(0, objects=2)
    true[1] = true[0] + 3
    found = assign(scores, boxes, centres, true, torch.tensor([0, 2]))
    assert (found.scores > 0).sum(1).max() == 1


def test_without_objects_nothing_is_learned() -> None:
    scores, boxes, centres, true, classes = scene(0, objects=1)
    found = assign(scores, boxes, centres, true[:0], classes[:0])
    assert not found.on.any()
    assert found.scores.sum() == 0


def test_an_object_without_a_centre_inside_is_not_learned() -> None:
    scores, boxes, centres, _, classes = scene(0, objects=1)
    between = torch.tensor([[5.0, 5.0, 7.5, 7.5]])
    assert not assign(scores, boxes, centres, between, classes).on.any()
