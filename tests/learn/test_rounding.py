import numpy as np
import pytest
import torch

from detq.learn.rounding import (
    hard_codes,
    near,
    position_from,
    rectified_sigmoid,
    regularizer,
    start_at,
)
from detq.numerics import Grid, quantize

GRID = Grid(6, narrow=True)


def weights(seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(
        np.random.default_rng(seed).standard_normal((5, 4, 3, 3)).astype(np.float32)
    )


def rounded(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scale = w.abs().amax((1, 2, 3), keepdim=True) / GRID.highest
    return quantize(w, scale, GRID).to(torch.int8), scale


def test_the_start_rounds_to_the_codes_it_has() -> None:
    w = weights()
    codes, _ = rounded(w)
    low, v = start_at(codes, position_from(codes, w, 0))
    assert hard_codes(low, v, GRID).equal(codes)


@pytest.mark.parametrize("sign", [1, -1])
def test_positions_are_the_weights_in_steps_whatever_was_folded_since(sign: int) -> None:
    w = weights()
    codes, scale = rounded(w)
    found = position_from(sign * codes, w, 0)
    # The best scale differs from the one that rounded by little.
    assert (found - sign * w / scale).abs().max() <= 0.25
    assert (found - sign * w / scale).abs().mean() <= 0.02


def test_a_dead_channel_stays_where_it_is() -> None:
    w = weights()
    codes, _ = rounded(w)
    codes[2] = 0
    found = position_from(codes, w, 0)
    assert not found[2].any()


def test_near_rounds_back() -> None:
    codes = torch.tensor([3, -7, 0], dtype=torch.int8)
    found = near(codes, torch.tensor([9.0, -7.2, 0.5]))
    assert found.round().equal(codes.float())
    assert float(found[1]) == pytest.approx(-7.2, abs=1e-6)


def test_what_lies_between_is_where_the_weight_lies() -> None:
    position = torch.tensor([2.3, -1.2, 0.1])
    low, v = start_at(torch.tensor([2, -1, 0], dtype=torch.int8), position)
    assert (low + rectified_sigmoid(v) - position).abs().max() <= 1e-6


def test_the_penalty_is_on_being_undecided() -> None:
    undecided, decided = torch.zeros(10), torch.full((10,), 20.0)
    assert regularizer(undecided, 0.1) is None
    assert float(regularizer(undecided, 0.5)) == pytest.approx(1)  # type: ignore[arg-type]
    assert float(regularizer(decided, 1.0)) == pytest.approx(0)  # type: ignore[arg-type]
    between = torch.tensor([0.5])
    early, late = (float(regularizer(between, at)) for at in (0.3, 1.0))  # type: ignore[arg-type]
    assert early > late  # at first only what is nearly decided is drawn


def test_up_is_never_off_the_grid() -> None:
    codes = torch.tensor([GRID.highest, GRID.lowest], dtype=torch.int8)
    low, _ = start_at(codes, codes + torch.tensor([0.4, -0.4]))
    for v in (-20.0, 20.0):
        found = hard_codes(low, torch.full((2,), v), GRID)
        assert found.min() >= GRID.lowest
        assert found.max() <= GRID.highest
