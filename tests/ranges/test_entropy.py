from importlib import import_module

import numpy as np
import pytest
from numpy.typing import NDArray

from detq.numerics import Grid
from detq.ranges.entropy import entropy
from detq.recipe import Entropy
from detq.stats import TensorStats, stats_of
from tests.reference import ranges as slow

BINS = 256  # the reference goes through bins one by one


def seen(x: NDArray[np.float64]) -> TensorStats:
    return stats_of(x.reshape(1, 1, -1).astype(np.float32))


def sample(kind: str) -> NDArray[np.float64]:
    """Values up to 1.5, where equal bins are whole bins of the statistics."""
    normal = np.random.default_rng(0).standard_normal(6000)
    shapes = {"relu": np.maximum(normal, 0), "signed": normal, "heavy": np.abs(normal) ** 3}
    x = shapes[kind].astype(np.float32)
    x = (x * np.float32(1.4) / np.abs(x).max()).astype(np.float32)
    x[0] = 1.5
    return x.astype(np.float64)


@pytest.mark.parametrize("count_zeros", [False, True])
@pytest.mark.parametrize("grid", [Grid(5), Grid(4), Grid(5, signed=False)])
@pytest.mark.parametrize("kind", ["relu", "signed", "heavy"])
def test_it_is_the_public_rule(
    monkeypatch: pytest.MonkeyPatch, kind: str, grid: Grid, count_zeros: bool
) -> None:
    monkeypatch.setattr(import_module("detq.ranges.entropy"), "BINS", BINS)
    x = sample(kind)
    counts = slow.histogram(np.abs(x) if grid.signed else np.maximum(x, 0), BINS)
    if not count_zeros:
        counts[0] = counts[1]
    best, _ = slow.least(counts, 2 ** (grid.bits - grid.signed), "strict")
    found = entropy(seen(x), grid, Entropy(count_zeros=count_zeros))
    assert found.highest == min((best + 0.5) * 1.5 / BINS, 1.5)
    assert found.lowest == max(-found.highest, min(x.min(), 0))


def test_zeros_that_count_shrink_the_range_of_a_relu() -> None:
    x = np.maximum(np.random.default_rng(0).standard_normal(200_000), 0)
    with_, without = (
        entropy(seen(x), Grid(), Entropy(count_zeros=count)).highest for count in (True, False)
    )
    assert with_ < 0.6 * without
    assert 0.8 * x.max() < without < x.max()


def test_far_outliers_are_clipped() -> None:
    x = np.abs(np.random.default_rng(3).standard_normal(200_000))
    x[:40] = np.linspace(5, 40, 40)
    assert 3.5 < entropy(seen(x), Grid(), Entropy()).highest < 5.5
