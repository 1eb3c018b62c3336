import numpy as np
import pytest
import torch

from detq.graph.ops import TABLE
from detq.learn.straight_through import STRAIGHT_THROUGH

ZERO = {"int8": torch.tensor(0, dtype=torch.int8), "uint8": torch.tensor(128, dtype=torch.uint8)}


def through(
    x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, table: object
) -> torch.Tensor:
    q = table["QuantizeLinear"](x, scale, zero)  # type: ignore[index]
    found: torch.Tensor = table["DequantizeLinear"](q, scale, zero)  # type: ignore[index]
    return found


@pytest.mark.parametrize("zero", ZERO.values(), ids=ZERO)
@pytest.mark.parametrize("scale", [0.037, 1e-4, 3.0])
def test_the_numbers_are_those_of_the_operators_to_the_bit(
    zero: torch.Tensor, scale: float
) -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(5000).astype(np.float32))
    x = torch.cat([x, torch.arange(-300, 300) * 0.5 * scale])  # ties, and values far outside
    given = x, torch.tensor(scale), zero
    assert through(*given, STRAIGHT_THROUGH).equal(through(*given, TABLE))


def test_gradients_are_those_of_learned_step_sizes() -> None:
    scale = 0.5
    for value, by_x, by_scale in (
        (0.6, 1, 1 - 1.2),  # rounded to 1
        (-1.9, 1, -4 + 3.8),
        (100.0, 0, 127),  # clipped
        (-100.0, 0, -128),
    ):
        x = torch.tensor(value, requires_grad=True)
        s = torch.tensor(scale, requires_grad=True)
        through(x, s, ZERO["int8"], STRAIGHT_THROUGH).backward()
        assert x.grad is not None
        assert s.grad is not None
        assert float(x.grad) == by_x
        assert float(s.grad) == pytest.approx(by_scale, abs=1e-5)


def test_the_clip_of_a_narrow_grid_hands_its_gradient_to_the_scale() -> None:
    x, s = torch.tensor(100.0), torch.tensor(0.5, requires_grad=True)
    wide = through(x, s, ZERO["int8"], STRAIGHT_THROUGH)
    STRAIGHT_THROUGH["Clip"](wide, s * -32, s * 31).backward()
    assert s.grad is not None
    assert float(s.grad) == 31
