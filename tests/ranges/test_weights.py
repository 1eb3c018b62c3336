import numpy as np
import pytest
from numpy.typing import NDArray

from detq.numerics import Grid, scale_from_range
from detq.ranges.weights import CANDIDATES, WEIGHT_RANGES, largest_weights, least_error_weights
from detq.recipe import Weights
from tests.reference import ranges as slow

GRIDS = [Grid(bits, narrow=True) for bits in (8, 7, 6, 4)]


def weights(kind: str) -> NDArray[np.float32]:
    normal = np.random.default_rng(0).standard_normal((6, 5, 3, 3))
    return {"normal": normal, "heavy": normal**3, "one": np.sign(normal)}[kind].astype(np.float32)


def test_the_recipe_has_the_names_of_the_table() -> None:
    for method in WEIGHT_RANGES:
        assert Weights(method=method).method == method  # type: ignore[arg-type]
    assert Weights().method in WEIGHT_RANGES


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_the_largest_of_each_channel(axis: int | None) -> None:
    w = weights("normal")
    found = largest_weights(w, axis, Grid(narrow=True))
    wanted = np.abs(w).max() if axis is None else [np.abs(c).max() for c in np.moveaxis(w, axis, 0)]
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == np.float64


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("kind", ["normal", "heavy"])
def test_no_candidate_has_a_smaller_error(kind: str, axis: int | None, grid: Grid) -> None:
    w = weights(kind).astype(np.float64)
    found = np.atleast_1d(least_error_weights(weights(kind), axis, grid))
    channels = w[None] if axis is None else np.moveaxis(w, axis, 0)
    assert len(found) == len(channels)
    for channel, threshold in zip(channels, found, strict=True):
        largest = float(np.abs(channel).max())
        tried = [largest * (1 - step / 100) for step in range(CANDIDATES)]
        assert any(threshold == pytest.approx(t, rel=1e-9) for t in tried)
        errors = [_error(channel, t, grid) for t in tried]
        assert _error(channel, threshold, grid) <= min(errors) * (1 + 1e-4)


def _error(channel: NDArray[np.float64], threshold: float, grid: Grid) -> float:
    scale = float(scale_from_range(np.array([threshold]), grid)[0])
    return slow.squared_error(channel.ravel(), scale * grid.highest, grid.lowest, grid.highest)


@pytest.mark.parametrize("grid", GRIDS)
def test_weights_of_one_magnitude_are_not_clipped(grid: Grid) -> None:
    np.testing.assert_array_equal(least_error_weights(weights("one"), 0, grid), np.ones(6))


@pytest.mark.parametrize("method", WEIGHT_RANGES)
def test_a_dead_channel_stays_dead(method: str) -> None:
    w = weights("normal")
    w[2] = 0
    found = WEIGHT_RANGES[method](w, 0, Grid(4, narrow=True))
    assert found[2] == 0
    assert (np.delete(found, 2) > 0).all()
    assert WEIGHT_RANGES[method](np.zeros_like(w), None, Grid(4, narrow=True)) == 0


@pytest.mark.parametrize("method", WEIGHT_RANGES)
def test_a_power_of_two_scales_the_range(method: str) -> None:
    w, grid = weights("heavy"), Grid(4, narrow=True)
    once, scaled = (WEIGHT_RANGES[method](w * np.float32(k), 0, grid) for k in (1, 2.0**-20))
    np.testing.assert_array_equal(scaled, once * 2.0**-20)
