import numpy as np
import pytest

from detq.errors import CalibrationError
from detq.numerics import ACTIVATIONS
from detq.plan import Placement, QuantPoint
from detq.ranges import choose_ranges, estimator_from
from detq.recipe import MinMax
from detq.stats import CalibrationStats, Range, TensorStats, stats_of

MINMAX = estimator_from(MinMax())


def stats(low: float, high: float) -> TensorStats:
    return stats_of(np.array([low, high], np.float32).reshape(1, 1, 1, 2))


def point(value: str, group: str) -> QuantPoint:
    return QuantPoint(value, (), ACTIVATIONS, group, "")


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(-1.0, 2.0, (-1.0, 2.0)), (0.5, 2.0, (0.0, 2.0)), (-3.0, -1.0, (-3.0, 0.0))],
)
def test_minmax_clips_nothing(low: float, high: float, wanted: tuple[float, float]) -> None:
    assert MINMAX(stats(low, high), ACTIVATIONS) == Range(*wanted)


PLACEMENT = Placement((point("a", "a"), point("b", "a"), point("c", "c")), ())


def test_members_of_a_group_have_one_range() -> None:
    seen = {"a": stats(-1, 2), "b": stats(-5, 1), "c": stats(0, 9), "other": stats(-99, 99)}
    found = choose_ranges(CalibrationStats(seen, ()), PLACEMENT, MINMAX)
    assert found == {"a": Range(-5, 2), "c": Range(0, 9)}


def test_a_tensor_that_was_not_observed_is_named() -> None:
    seen = {"a": stats(-1, 2), "c": stats(0, 9)}
    with pytest.raises(CalibrationError) as caught:
        choose_ranges(CalibrationStats(seen, ()), PLACEMENT, MINMAX)
    assert str(caught.value) == "b: was not observed (calibrate again with this model)"


@pytest.mark.parametrize("ends", [(0.0, np.inf), (-np.inf, 0.0), (np.nan, 1.0), (2.0, 1.0)])
def test_a_range_that_is_none_is_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(CalibrationError, match="range"):
        Range(*ends)
