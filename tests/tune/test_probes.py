import pytest

pytest.importorskip("torch", reason="gradients are torch's")

import torch

from detq.tune.probes import Seen, head_weight, per_image, random_signs


def test_gradients_of_kept_and_probed_values_in_one_run() -> None:
    seen = Seen({"a", "b"}, {"a", "unused"})
    a = seen("a", torch.tensor([[1.0, 2.0]]))
    b = seen("b", 3 * a)
    seen("unused", torch.ones(2, 2))
    assert "c" not in seen.values and seen("c", b) is b
    head = b.square()
    weight = torch.tensor([[1.0, 0.5]])
    found = seen.gradients({"head": head}, {"head": weight}, again=True)
    # d/da of Σ w (3 a)² is 18 w a.
    assert torch.allclose(found["a"], torch.tensor([[18.0, 18.0]]), atol=1e-5, rtol=0)
    assert torch.equal(found["unused"], torch.zeros(2, 2))
    assert torch.equal(seen.values["b"], torch.tensor([[3.0, 6.0]]))
    twice = seen.gradients({"head": head}, {"head": 2 * weight})
    assert torch.allclose(twice["a"], 2 * found["a"], atol=1e-5, rtol=0)


def test_every_head_and_image_weighs_the_same() -> None:
    head = torch.tensor([[3.0, 4.0], [0.6, 0.8]])
    weighted = head_weight(head, 2) * head.square()
    assert torch.allclose(weighted.sum(1), torch.tensor([0.5, 0.5]), atol=1e-6, rtol=0)
    assert torch.isfinite(head_weight(torch.zeros(1, 2), 1)).all()


def test_signs_are_both_and_products_are_per_image() -> None:
    signs = random_signs(torch.empty(1000), torch.Generator().manual_seed(0))
    assert set(signs.tolist()) == {-1.0, 1.0}
    assert abs(float(signs.sum())) < 150
    x = torch.arange(8.0).reshape(2, 2, 2)
    assert per_image(x, x).tolist() == [0 + 1 + 4 + 9, 16 + 25 + 36 + 49]
