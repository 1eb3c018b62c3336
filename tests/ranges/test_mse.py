import numpy as np
import pytest
from numpy.typing import NDArray

from detq.numerics import Grid
from detq.ranges.magnitudes import Magnitudes
from detq.ranges.mse import OCTAVES, mse, squared_error
from detq.recipe import Mse
from detq.stats import TensorStats, stats_of
from tests.reference import ranges as slow

GRIDS = [Grid(bits, signed=signed) for bits in (8, 6, 4) for signed in (True, False)]


def seen(x: NDArray[np.float64]) -> TensorStats:
    return stats_of(x.reshape(1, 1, -1).astype(np.float32))


def sample(kind: str, count: int = 3000) -> NDArray[np.float64]:
    normal = np.random.default_rng(0).standard_normal(count)
    return {
        "relu": np.maximum(normal, 0),
        "signed": normal,
        "heavy": normal**3,
        "below": -np.abs(normal) + 0.2,
        "outlier": np.append(normal, 40.0),
    }[kind].astype(np.float32).astype(np.float64)  # fmt: skip


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", ["relu", "signed", "heavy", "below", "outlier"])
def test_no_candidate_has_a_smaller_error(kind: str, grid: Grid) -> None:
    x, options = sample(kind), Mse(candidates=64)
    found = mse(seen(x), grid, options)
    largest = np.abs(x).max() if grid.signed else x.max()
    candidates = [largest * 2 ** (-OCTAVES * step / 64) for step in range(64)]
    threshold = max(found.highest, -found.lowest if grid.signed else 0)
    assert any(threshold == pytest.approx(t, rel=1e-9) for t in candidates)
    errors = [slow.squared_error(x, t, grid.lowest, grid.highest) for t in candidates]
    mine = slow.squared_error(x, threshold, grid.lowest, grid.highest)
    # Values are taken as evenly spread inside a bin: a thousandth of the error in all.
    assert mine <= min(errors) + 2e-3 * min(errors)


@pytest.mark.parametrize("integers", [3, 7, 128])
def test_the_closed_form_is_the_integral(integers: int) -> None:
    counts = np.array([5.0, 0.0, 2.0, 9.0, 1.0])
    edges = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.2])
    points = 2000
    found = Magnitudes(counts, edges)
    scales = np.array([0.9, 0.31, 0.05, 0.004]) * 7 / integers
    for scale, error in zip(scales, squared_error(found, scales, integers), strict=True):
        wanted = 0.0
        for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
            x = low + (np.arange(points) + 0.5) / points * (high - low)
            one = slow.squared_error(x, scale * integers, 0, integers) - float((x**2).sum())
            wanted += count * one / points
        assert error == pytest.approx(wanted, rel=1e-3)


def test_what_is_below_zero_does_not_matter_without_a_sign() -> None:
    x = sample("signed")
    grid = Grid(4, signed=False)
    alone = mse(seen(np.maximum(x, 0)), grid, Mse())
    assert mse(seen(x), grid, Mse()).highest == alone.highest


def test_an_outlier_is_clipped_for_few_integers_and_kept_for_many() -> None:
    x = np.append(sample("signed", 200_000), 30.0)
    assert mse(seen(x), Grid(4), Mse()).highest < 6
    assert mse(seen(x[-3000:]), Grid(8), Mse()).highest > 25
