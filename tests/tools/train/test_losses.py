import math

import pytest

torch = pytest.importorskip("torch", reason="the trainer runs in torch")

from tools.train.boxes import generalized_overlap, overlap  # noqa: E402
from tools.train.losses import detection_losses, varifocal  # noqa: E402

TOLERANCE = 1e-5


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_varifocal_is_its_formula() -> None:
    logits = torch.tensor([-3.0, 0.2, 1.5, -0.4])
    wanted = torch.tensor([0.0, 0.0, 0.8, 0.3])
    terms = []
    for x, q in zip(logits.tolist(), wanted.tolist(), strict=True):
        p = sigmoid(x)
        if q > 0:
            terms.append(-q * (q * math.log(p) + (1 - q) * math.log(1 - p)))
        else:
            terms.append(-0.75 * p**2 * math.log(1 - p))
    assert float(varifocal(logits, wanted)) == pytest.approx(sum(terms), abs=TOLERANCE)


@pytest.mark.parametrize(
    ("other", "iou", "giou"),
    [
        ((0, 0, 4, 2), 1.0, 1.0),
        ((2, 0, 6, 2), 4 / 12, 4 / 12),
        ((8, 0, 12, 2), 0.0, -8 / 24),
        ((1, 0.5, 3, 1.5), 2 / 8, 2 / 8),
        ((2, 1, 6, 3), 2 / 14, 2 / 14 - 4 / 18),
    ],
)
def test_overlaps_by_hand(other: tuple[float, ...], iou: float, giou: float) -> None:
    a, b = torch.tensor([0.0, 0, 4, 2]), torch.tensor(other, dtype=torch.float32)
    assert float(overlap(a, b)) == pytest.approx(iou, abs=TOLERANCE)
    assert float(generalized_overlap(a, b)) == pytest.approx(giou, abs=TOLERANCE)


def test_a_perfect_box_costs_nothing_and_a_worse_one_more() -> None:
    centres = torch.tensor([[8.0, 8.0], [24.0, 8.0]])
    true = (torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([1]))
    logits = torch.zeros(1, 2, 2)
    costs = []
    for shift in (0.0, 2.0, 4.0):
        boxes = torch.tensor([[[0.0, 0, 16, 16], [16, 0, 32, 16]]]) + shift
        costs.append(float(detection_losses(logits, boxes, centres, [true])[1]))
    assert costs[0] == pytest.approx(0, abs=TOLERANCE)
    assert costs[0] < costs[1] < costs[2]
