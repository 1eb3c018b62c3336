import numpy as np
import pytest
from numpy.typing import NDArray

from detq.numerics import ACTIVATIONS, ACTIVATIONS_UNSIGNED
from detq.ranges.magnitudes import (
    Magnitudes,
    clipped_at,
    magnitudes,
    negative_magnitudes,
    positive_magnitudes,
    rebinned,
)
from detq.stats import Range, TensorStats, stats_of
from tests.reference.ranges import histogram

# The largest lies on an edge of the 4096 bins, so that equal bins up to it are whole ones.
LARGEST = 1.5


def seen(x: NDArray[np.float64]) -> TensorStats:
    return stats_of(x.reshape(1, 1, -1).astype(np.float32))


def values(count: int = 3000) -> NDArray[np.float64]:
    x = np.random.default_rng(0).uniform(-1, LARGEST, count).astype(np.float32)
    x[:3] = LARGEST, 0, 0
    return x.astype(np.float64)


def test_each_grid_has_its_magnitudes() -> None:
    x = values()
    stats = seen(x)
    for found, wanted in (
        (magnitudes(stats, ACTIVATIONS), np.abs(x)),
        (magnitudes(stats, ACTIVATIONS_UNSIGNED), x[x > 0]),
        (positive_magnitudes(stats), x[x > 0]),
        (negative_magnitudes(stats), -x[x < 0]),
    ):
        wanted = wanted[wanted > 0]
        assert found.largest == wanted.max()
        counts, _ = np.histogram(wanted, found.edges)
        np.testing.assert_array_equal(found.counts, counts)
        assert (np.diff(found.edges) > 0).all()


def test_where_nothing_was_seen() -> None:
    found = positive_magnitudes(seen(np.array([-1.0, 0.0])))
    assert found.largest == 0
    assert found.counts.sum() == 0
    assert rebinned(found, 8).tolist() == [0] * 8


@pytest.mark.parametrize("bins", [1, 3, 256, 1024])
def test_new_bins_that_are_whole_old_ones(bins: int) -> None:
    x = np.abs(values())
    found = rebinned(magnitudes(seen(x), ACTIVATIONS), bins)
    np.testing.assert_array_equal(found, histogram(x[x > 0], bins))


def test_values_of_a_bin_are_evenly_spread() -> None:
    found = Magnitudes(np.array([6.0, 0.0, 3.0]), np.array([0.0, 1.0, 2.0, 2.5]))
    # Bins of 0.625: the first old bin covers 1.6 of them, the last one 0.8.
    np.testing.assert_allclose(rebinned(found, 4), [3.75, 2.25, 0, 3.0], rtol=1e-12)


def test_nothing_is_lost_and_an_empty_bin_stays_empty() -> None:
    x = np.abs(np.random.default_rng(1).standard_normal(500)) ** 3
    found = magnitudes(seen(x), ACTIVATIONS)
    again = rebinned(found, 2048)
    assert again.sum() == pytest.approx(500, rel=1e-12)
    counts = histogram(x.astype(np.float32).astype(np.float64), 2048)
    assert (again[np.array(counts) > 0] > 0).all()
    assert (again > 0).sum() <= 2 * (found.counts > 0).sum()


@pytest.mark.parametrize(
    ("x", "threshold", "wanted"),
    [
        ([-1, 4], 2.0, (-1, 2)),
        ([-4, 1], 2.0, (-2, 1)),
        ([1, 4], 9.0, (0, 4)),
        ([-4, -1], 9.0, (-4, 0)),
        ([0, 0], 0.0, (0, 0)),
    ],
)
def test_a_range_stays_within_what_was_seen(
    x: list[float], threshold: float, wanted: tuple[float, float]
) -> None:
    assert clipped_at(seen(np.array(x, np.float64)), threshold) == Range(*wanted)
