"""What every range estimator promises; a new one is held to it by its line in the table."""

from functools import reduce
from itertools import permutations
from random import Random
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from detq.numerics import Grid
from detq.ranges import ESTIMATORS, RangeEstimator, estimator_from
from detq.recipe import Entropy, Kl, Mse, Percentile, RangeMethod
from detq.stats import Range, TensorStats, merge, stats_of, tied

DEFAULTS = [kind() for kind in get_args(RangeMethod)]
METHODS = [
    *DEFAULTS,
    Percentile(percent=50),
    Percentile(percent=100),
    Mse(candidates=8),
    Entropy(count_zeros=True),
    Kl(divergence="masked"),
    Kl(divergence="published"),
    Kl(guard=100),
]
GRIDS = [Grid(8), Grid(8, signed=False), Grid(4)]
VALUES = arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e6, 1e6, width=32))


def name_of(option: object) -> str:
    return repr(option).replace("Grid", "")


few = settings(max_examples=20)
each_method = pytest.mark.parametrize("method", METHODS, ids=name_of)
each_grid = pytest.mark.parametrize("grid", GRIDS, ids=name_of)


def seen(x: NDArray[np.float32]) -> TensorStats:
    found = stats_of(x.reshape(1, 1, -1).astype(np.float32))
    for array in (found.histogram.positive, found.histogram.negative):
        array.flags.writeable = False  # an estimator that writes is found out
    return found


def ends(found: Range) -> tuple[float, float]:
    return found.lowest, found.highest


def sample(kind: str, count: int = 50_000, seed: int = 0) -> NDArray[np.float32]:
    normal = np.random.default_rng(seed).standard_normal(count)
    shapes = {
        "relu": np.maximum(normal, 0),
        "signed": normal,
        "silu": normal * 3 / (1 + np.exp(-3 * normal)),
        "outliers": np.where(np.arange(count) % 5000, np.abs(normal), 30 * np.abs(normal)),
        "heavy": normal**3,
    }
    return shapes[kind].astype(np.float32)


SAMPLES = ("relu", "signed", "silu", "outliers", "heavy")


def test_every_method_of_a_recipe_has_an_estimator() -> None:
    assert sorted(ESTIMATORS) == sorted(str(m.__struct_config__.tag) for m in DEFAULTS)


@each_grid
@each_method
@few
@given(x=VALUES, power=st.integers(-40, 40))
def test_a_power_of_two_scales_the_range_exactly(
    method: RangeMethod, grid: Grid, x: NDArray[np.float32], power: int
) -> None:
    x = np.where(np.abs(x) < 1e-6, 0, x)
    estimate, k = estimator_from(method), 2.0**power
    once, scaled = ends(estimate(seen(x), grid)), ends(estimate(seen(x * np.float32(k)), grid))
    assert scaled == (k * once[0], k * once[1])


# A candidate that is nearly as good may be the best in other bins: of the threshold.
SPREAD = {"mse": 0.05, "entropy": 0.15, "kl": 0.15}


@pytest.mark.parametrize("factor", [0.3, 1.7, 1000.0])
@pytest.mark.parametrize("kind", SAMPLES)
@each_method
def test_any_factor_scales_the_range(method: RangeMethod, kind: str, factor: float) -> None:
    x, estimate = sample(kind), estimator_from(method)
    once = factor * _threshold(estimate, seen(x), Grid())
    scaled = _threshold(estimate, seen(x * np.float32(factor)), Grid())
    bins = 2 / 2048 * factor * float(np.abs(x).max())
    share = SPREAD.get(str(method.__struct_config__.tag), 0.0)
    assert scaled == pytest.approx(once, rel=share, abs=bins)


@each_grid
@each_method
@few
@given(x=VALUES)
def test_a_range_holds_zero_and_nothing_that_was_not_seen(
    method: RangeMethod, grid: Grid, x: NDArray[np.float32]
) -> None:
    lowest, highest = ends(estimator_from(method)(seen(x), grid))
    assert min(float(x.min()), 0) <= lowest <= 0 <= highest <= max(float(x.max()), 0)
    if (x > 0).any() or (grid.signed and x.any()):
        assert max(highest, -lowest) > 0


@each_grid
@each_method
@pytest.mark.parametrize("kind", SAMPLES)
def test_what_it_is_given_stays_and_the_answer_does_too(
    method: RangeMethod, grid: Grid, kind: str
) -> None:
    stats, estimate = seen(sample(kind, 5000)), estimator_from(method)
    before = [array.copy() for array in (stats.histogram.positive, stats.histogram.negative)]
    first = estimate(stats, grid)
    estimate(seen(sample("heavy", 500)), grid)
    assert estimate(stats, grid) == first
    for array, kept in zip((stats.histogram.positive, stats.histogram.negative), before,
                           strict=True):  # fmt: skip
        np.testing.assert_array_equal(array, kept)


@each_method
def test_the_order_of_the_images_plays_no_part(method: RangeMethod) -> None:
    x = sample("silu", 4 * 600) * np.repeat([1, 0.01, 5, 0], 600)
    estimate = estimator_from(method)
    whole = estimate(seen(x), Grid())
    parts = [seen(part) for part in x.reshape(4, -1)]
    assert {estimate(reduce(merge, order), Grid()) for order in permutations(parts)} == {whole}
    assert estimate(tied(parts), Grid()) == whole
    Random(0).shuffle(shuffled := x.tolist())
    assert estimate(seen(np.array(shuffled, np.float32)), Grid()) == whole


@each_grid
@each_method
def test_a_dead_tensor_has_the_range_of_a_point(method: RangeMethod, grid: Grid) -> None:
    assert ends(estimator_from(method)(seen(np.zeros(9, np.float32)), grid)) == (0, 0)


@each_grid
@each_method
@pytest.mark.parametrize("zeros", [0, 1, 10**4])
@pytest.mark.parametrize("constant", [1.0, 0.7, 3e38, 1e-44, -1.0, -0.7])
def test_one_value_is_not_clipped(
    method: RangeMethod, grid: Grid, constant: float, zeros: int
) -> None:
    x = np.append(np.zeros(zeros, np.float32), np.full(3, constant, np.float32))
    value = float(np.float32(constant))
    wanted = (min(value, 0) if grid.signed else 0, max(value, 0))
    found = ends(estimator_from(method)(seen(x), grid))
    assert found[1] == wanted[1]
    assert not grid.signed or found[0] == wanted[0]


@each_grid
@each_method
@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e38])
def test_the_ends_of_float32_are_no_ends_here(
    method: RangeMethod, grid: Grid, scale: float
) -> None:
    x = np.clip(sample("silu", 2000), -3, 3) * np.float32(scale)
    found = estimator_from(method)(seen(x), grid)
    assert 0 < found.highest <= x.max()


@each_method
@pytest.mark.parametrize("kind", SAMPLES)
def test_fewer_integers_do_not_want_a_much_wider_range(method: RangeMethod, kind: str) -> None:
    estimate, stats = estimator_from(method), seen(sample(kind))
    wide, narrow = (_threshold(estimate, stats, Grid(bits)) for bits in (8, 4))
    assert narrow <= 1.2 * wide


def _threshold(estimate: RangeEstimator, stats: TensorStats, grid: Grid) -> float:
    found = estimate(stats, grid)
    return max(found.highest, -found.lowest)
