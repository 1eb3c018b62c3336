import numpy as np
import pytest
from numpy.typing import NDArray

from detq.numerics import ACTIVATIONS, ACTIVATIONS_UNSIGNED, Grid
from detq.ranges.minmax import minmax
from detq.ranges.percentile import percentile
from detq.recipe import MinMax, Percentile
from detq.stats import TensorStats, stats_of
from tests.reference import ranges as slow

GRIDS = [ACTIVATIONS, ACTIVATIONS_UNSIGNED]


def seen(x: NDArray[np.float32]) -> TensorStats:
    return stats_of(x.reshape(1, 1, -1))


def sample(kind: str) -> NDArray[np.float32]:
    normal = np.random.default_rng(0).standard_normal(4000)
    found = {"relu": np.maximum(normal, 0), "signed": normal, "heavy": normal**5}[kind]
    return found.astype(np.float32)


@pytest.mark.parametrize("percent", [0.01, 40.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", ["relu", "signed", "heavy"])
def test_up_to_a_bin_it_is_the_percentile(kind: str, grid: Grid, percent: float) -> None:
    x = sample(kind)
    exact = slow.percentile(x.astype(np.float64), percent, grid.signed)
    if exact == 0:  # among the zeros: of the others then
        others = x[x != 0] if grid.signed else x[x > 0]
        exact = slow.percentile(others.astype(np.float64), percent, grid.signed)
    found = percentile(seen(x), grid, Percentile(percent=percent))
    threshold = max(found.highest, -found.lowest if grid.signed else 0)
    assert exact <= threshold <= exact + np.abs(x).max() / 2048


@pytest.mark.parametrize("grid", GRIDS)
def test_all_of_the_values_is_minmax(grid: Grid) -> None:
    stats = seen(sample("relu"))
    assert percentile(stats, grid, Percentile(percent=100)) == minmax(stats, grid, MinMax())


@pytest.mark.parametrize("grid", GRIDS)
def test_where_the_percentile_is_among_the_zeros_the_others_have_one(grid: Grid) -> None:
    x = np.zeros(100_000, np.float32)
    x[:50] = np.arange(1, 51)
    found = percentile(seen(x), grid, Percentile(percent=80))
    assert found.highest == pytest.approx(40, abs=50 / 2048)
    assert found.lowest == 0


def test_both_sides_count_where_there_is_a_sign() -> None:
    x = np.append(np.full(98, 0.5, np.float32), np.array([1, -8], np.float32))
    assert percentile(seen(x), ACTIVATIONS, Percentile(percent=99)).lowest > -1.1
    assert percentile(seen(x), ACTIVATIONS, Percentile(percent=99.5)).lowest == -8
