import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detq.errors import CalibrationError
from detq.numerics import ACTIVATIONS, ACTIVATIONS_UNSIGNED, Grid
from detq.plan import Placement, QuantPoint
from detq.ranges import ESTIMATORS, choose_ranges
from detq.ranges.minmax import minmax
from detq.stats import CalibrationStats, Range, TensorStats

GRIDS = [ACTIVATIONS, ACTIVATIONS_UNSIGNED]
number = st.floats(-1e6, 1e6, width=32)


def stats(low: float, high: float) -> TensorStats:
    ends = np.array([low], np.float32), np.array([high], np.float32)
    return TensorStats(low, high, *ends, count=10, images=1)


def point(value: str, group: str) -> QuantPoint:
    return QuantPoint(value, (), ACTIVATIONS, group, "")


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("method", ESTIMATORS)
@given(ends=st.tuples(number, number).map(sorted), power=st.integers(-20, 20))
def test_a_scaled_tensor_has_a_scaled_range(
    method: str, grid: Grid, ends: list[float], power: int
) -> None:
    low, high = ends
    k = 2.0**power  # exact, so the answer has to be exact as well
    once, scaled = (ESTIMATORS[method](stats(f * low, f * high), grid) for f in (1.0, k))
    assert (scaled.lowest, scaled.highest) == (k * once.lowest, k * once.highest)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("method", ESTIMATORS)
@given(ends=st.tuples(number, number).map(sorted))
def test_a_range_holds_zero_and_nothing_that_was_not_seen(
    method: str, grid: Grid, ends: list[float]
) -> None:
    found = ESTIMATORS[method](stats(*ends), grid)
    assert min(ends[0], 0) <= found.lowest <= 0 <= found.highest <= max(ends[1], 0)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(-1.0, 2.0, (-1.0, 2.0)), (0.5, 2.0, (0.0, 2.0)), (-3.0, -1.0, (-3.0, 0.0))],
)
def test_minmax_clips_nothing(low: float, high: float, wanted: tuple[float, float]) -> None:
    assert minmax(stats(low, high), ACTIVATIONS) == Range(*wanted)


PLACEMENT = Placement((point("a", "a"), point("b", "a"), point("c", "c")), ())


def test_members_of_a_group_have_one_range() -> None:
    seen = {"a": stats(-1, 2), "b": stats(-5, 1), "c": stats(0, 9), "other": stats(-99, 99)}
    found = choose_ranges(CalibrationStats(seen, ()), PLACEMENT, minmax)
    assert found == {"a": Range(-5, 2), "c": Range(0, 9)}


def test_a_tensor_that_was_not_observed_is_named() -> None:
    seen = {"a": stats(-1, 2), "c": stats(0, 9)}
    with pytest.raises(CalibrationError) as caught:
        choose_ranges(CalibrationStats(seen, ()), PLACEMENT, minmax)
    assert str(caught.value) == "b: was not observed (calibrate again with this model)"


@pytest.mark.parametrize("ends", [(0.0, np.inf), (-np.inf, 0.0), (np.nan, 1.0), (2.0, 1.0)])
def test_a_range_that_is_none_is_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(CalibrationError, match="range"):
        Range(*ends)
