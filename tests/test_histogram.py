from collections.abc import Sequence
from functools import reduce
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from detq.histogram import BINS, SMALLEST_EXPONENT, Histogram, add, count_values

F32 = np.finfo(np.float32)
# From the smallest float32 there is to the largest, zeros of both signs among them.
NUMBER = st.floats(width=32, allow_nan=False, allow_infinity=False)
ARRAY = arrays(np.float32, st.integers(1, 60), elements=NUMBER)


def counted(x: NDArray[np.float32]) -> Histogram:
    return count_values(x, float(x.min()), float(x.max()))


def assert_equal(a: Histogram, b: Histogram) -> None:
    assert (a.exponent, a.zeros) == (b.exponent, b.zeros)
    np.testing.assert_array_equal(a.positive, b.positive, strict=True)
    np.testing.assert_array_equal(a.negative, b.negative, strict=True)


def slowly(values: Sequence[float]) -> Histogram:
    """Value by value in Python's floats, which hold all of float32."""
    exponent = SMALLEST_EXPONENT
    while any(abs(value) >= 2.0**exponent for value in values):
        exponent += 1
    if not any(values):
        exponent = SMALLEST_EXPONENT
    sides = np.zeros((2, BINS), np.int64)
    for value in values:
        if value:
            sides[int(value < 0), int(abs(value) / 2.0**exponent * BINS)] += 1
    return Histogram(exponent, sides[0], sides[1], sum(value == 0 for value in values))


@given(ARRAY)
def test_every_value_is_in_its_bin(x: NDArray[np.float32]) -> None:
    found = counted(x)
    assert_equal(found, slowly(x.tolist()))
    assert found.count == x.size


@given(st.lists(ARRAY, min_size=2, max_size=5), st.randoms())
def test_parts_are_the_whole_in_any_order_and_grouping(
    parts: list[NDArray[np.float32]], chance: Random
) -> None:
    whole = counted(np.concatenate(parts))
    found = [counted(part) for part in parts]
    while len(found) > 1:
        chance.shuffle(found)
        found.append(add(found.pop(), found.pop()))
    assert_equal(found[0], whole)


@given(ARRAY, st.integers(-60, 60))
def test_a_power_of_two_moves_the_range_alone(x: NDArray[np.float32], power: int) -> None:
    x = np.clip(x, -(2.0**60), 2.0**60)
    x[np.abs(x) < 2.0**-60] = 0
    once, scaled = counted(x), counted(x * np.float32(2.0**power))
    assert scaled.exponent == once.exponent + (power if x.any() else 0)
    np.testing.assert_array_equal(scaled.positive, once.positive)
    np.testing.assert_array_equal(scaled.negative, once.negative)


def test_the_other_sign_changes_sides() -> None:
    x = np.random.default_rng(0).standard_normal(999).astype(np.float32)
    once, other = counted(x), counted(-x)
    np.testing.assert_array_equal(once.positive, other.negative)
    np.testing.assert_array_equal(once.negative, other.positive)


def test_the_resolution_is_between_a_2048th_and_a_4096th_of_the_largest() -> None:
    for largest in np.geomspace(1e-30, 1e30, 997).astype(np.float32):
        width = counted(np.array([largest, -largest / 3])).width
        assert 1 / 4096 <= width / float(largest) <= 1 / 2048


@pytest.mark.parametrize(
    "values",
    [
        [0.0],
        [0.0, -0.0],
        [float(F32.smallest_subnormal), 0.0],
        [-float(F32.smallest_subnormal)],
        [float(F32.tiny), -float(F32.smallest_subnormal)],
        [float(F32.max), -float(F32.max)],
        [float(F32.max), float(F32.smallest_subnormal), -float(F32.smallest_subnormal)],
        [1.0, 0.5, 2.0, -1.0],
        [float(np.nextafter(np.float32(2), np.float32(0))), 1.0],
    ],
)
def test_ends_of_the_range(values: list[float]) -> None:
    assert_equal(counted(np.array(values, np.float32)), slowly(values))


def test_zeros_have_no_range() -> None:
    nothing = counted(np.zeros(7, np.float32))
    something = counted(np.array([1e-40, -1e-42], np.float32))
    assert (nothing.exponent, nothing.zeros, nothing.count) == (SMALLEST_EXPONENT, 7, 7)
    both = add(nothing, something)
    assert (both.exponent, both.zeros, both.count) == (something.exponent, 7, 9)


@pytest.mark.parametrize("size", [1, 2, 3, (1 << 20) + 1, (1 << 24) - 1])
def test_a_counter_counts_as_far_as_it_has_to(size: int) -> None:
    assert counted(np.full(size, 3, np.float32)).positive[BINS * 3 // 4] == size


def test_more_than_is_counted_exactly_is_refused() -> None:
    with pytest.raises(AssertionError, match="too many"):
        count_values(np.zeros(1 << 24, np.float32), 0, 0)


def test_counts_add_up_beyond_any_array() -> None:
    many = Histogram(0, np.full(BINS, 1 << 40), np.zeros(BINS, np.int64), 1 << 40)
    both = reduce(add, [many] * 3, counted(np.array([2.0], np.float32)))
    assert both.zeros == 3 << 40
    assert both.positive[: BINS // 4].tolist() == [3 << 42] * (BINS // 4)
    assert both.count == many.count * 3 + 1


def test_the_values_are_left_alone() -> None:
    x = np.array([-1.0, 0.0, 2.0], np.float32)
    before = x.copy()
    counted(x)
    np.testing.assert_array_equal(x, before)
