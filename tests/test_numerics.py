from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detq.numerics import (
    ACTIVATIONS,
    ACTIVATIONS_UNSIGNED,
    WEIGHTS,
    WEIGHTS_7_BIT,
    Grid,
    quantize,
    round_to_grid,
    scale_from_range,
)

F32 = np.float32
# Scales whose quotients take each of the 23 bits, and powers of two, on which ties are exact.
SCALES = [F32(s) for s in (1, 0.25, 2**-20, 2**20, 0.1, 1 / 3, 1 / 127, 3e-5, 7.77, 1e20, 1e-20)]
GRIDS = [ACTIVATIONS, ACTIVATIONS_UNSIGNED, WEIGHTS, WEIGHTS_7_BIT]


def plain_round(x: np.float32, scale: np.float32) -> int:
    # The quotient in float32, as ONNX computes it; then half to even in exact arithmetic.
    return round(Fraction(float(F32(x / scale))))


@pytest.mark.parametrize(
    ("grid", "lowest", "highest", "dtype"),
    [
        (ACTIVATIONS, -128, 127, np.int8),
        (ACTIVATIONS_UNSIGNED, 0, 255, np.uint8),
        (WEIGHTS, -127, 127, np.int8),
        (WEIGHTS_7_BIT, -63, 63, np.int8),
        (Grid(shifted=True), -128, 127, np.uint8),
        (Grid(bits=2), -2, 1, np.int8),
        (Grid(bits=2, signed=False), 0, 3, np.uint8),
    ],
)
def test_ends_of_a_grid(grid: Grid, lowest: int, highest: int, dtype: type) -> None:
    assert (grid.lowest, grid.highest, grid.dtype) == (lowest, highest, np.dtype(dtype))


@pytest.mark.parametrize("grid", [*GRIDS, Grid(shifted=True), Grid(bits=6, shifted=True)])
def test_every_integer_fits_what_it_is_stored_as(grid: Grid) -> None:
    stored = np.iinfo(grid.dtype)
    assert stored.min <= grid.lowest + grid.zero_point
    assert grid.highest + grid.zero_point <= stored.max
    assert grid.zero_point == (128 if grid.shifted else 0)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("grid", GRIDS)
def test_every_integer_comes_back(grid: Grid, scale: np.float32) -> None:
    integers = np.arange(grid.lowest, grid.highest + 1)
    values = integers.astype(F32) * scale
    assert np.array_equal(quantize(values, scale, grid), integers)


@pytest.mark.parametrize("scale", SCALES)
def test_ties_and_their_neighbours_go_as_onnx_says(scale: np.float32) -> None:
    ties = (np.arange(-300, 300, dtype=F32) + F32(0.5)) * scale
    values = np.concatenate(
        [ties, np.nextafter(ties, F32(np.inf)), np.nextafter(ties, -F32(np.inf))]
    )
    expected = [plain_round(value, scale) for value in values]
    assert np.array_equal(round_to_grid(values, scale), expected)


def test_a_reciprocal_would_round_other_ties() -> None:
    # Guards the test above: some scale in it tells division from multiplication.
    differ = 0
    for scale in SCALES:
        ties = (np.arange(-300, 300, dtype=F32) + F32(0.5)) * scale
        differ += int((round_to_grid(ties, scale) != np.round(ties * (F32(1) / scale))).sum())  # noqa: TID251
    assert differ > 0


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_nothing_leaves_the_grid(values: list[float]) -> None:
    for grid in GRIDS:
        integers = quantize(np.array(values, F32), F32(1), grid)
        assert integers.min() >= grid.lowest
        assert integers.max() <= grid.highest


@pytest.mark.parametrize("scale", SCALES)
def test_torch_gives_the_same_integers(scale: np.float32) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    ties = (np.arange(-300, 300, dtype=F32) + F32(0.5)) * scale
    ours = quantize(torch.from_numpy(ties), torch.tensor(scale), ACTIVATIONS)
    assert np.array_equal(ours.numpy(), quantize(ties, scale, ACTIVATIONS))


@pytest.mark.parametrize("grid", GRIDS)
def test_a_scale_maps_the_range_to_the_highest_integer(grid: Grid) -> None:
    magnitudes = np.array([1e-6, 0.3, 1, 127, 1e6])
    scale = scale_from_range(magnitudes, grid)
    assert scale.dtype == np.float32
    assert np.array_equal(scale, (magnitudes / grid.highest).astype(F32))
    assert np.array_equal(quantize(magnitudes.astype(F32), scale, grid), [grid.highest] * 5)


@pytest.mark.parametrize(
    ("magnitudes", "expected"),
    [
        ([127.0, 0.0, 254.0, 1270.0], [1, 2, 10]),
        ([0.0, 1e-44, 127.0], [1]),
    ],
)
def test_a_dead_channel_gets_the_median_of_the_living(
    magnitudes: list[float], expected: list[float]
) -> None:
    scale = scale_from_range(np.array(magnitudes), WEIGHTS)
    alive = np.array(magnitudes) > 1e-30
    assert np.array_equal(scale[alive], expected)
    assert np.array_equal(scale[~alive], [np.median(expected)] * int((~alive).sum()))


def test_all_dead_channels_get_one() -> None:
    assert np.array_equal(scale_from_range(np.zeros(3), WEIGHTS), np.ones(3, F32))


@given(st.lists(st.floats(min_value=0, max_value=1e38), min_size=1, max_size=5))
def test_scales_are_positive_and_finite(magnitudes: list[float]) -> None:
    scale: NDArray[np.float32] = scale_from_range(np.array(magnitudes), ACTIVATIONS)
    assert np.all(scale > 0)
    assert np.all(np.isfinite(scale))
