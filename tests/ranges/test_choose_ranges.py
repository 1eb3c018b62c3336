import numpy as np
import pytest

from detq.errors import CalibrationError, RecipeError
from detq.numerics import ACTIVATIONS
from detq.plan import Placement, QuantPoint
from detq.ranges import choose_ranges, estimator_from
from detq.recipe import MinMax, Percentile
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


def test_a_group_may_have_a_method_of_its_own() -> None:
    values = np.linspace(0, 1, 1000, dtype=np.float32).reshape(1, 1, 1, -1)
    seen = CalibrationStats({name: stats_of(values) for name in "abc"}, ())
    chosen = {"c*": Percentile(percent=50), "*": MinMax()}
    found = choose_ranges(seen, PLACEMENT, estimator_from(Percentile(percent=10)), chosen)
    assert found["a"].highest == pytest.approx(1, abs=1e-6)
    assert found["c"].highest == pytest.approx(0.5, abs=1e-3)


def test_a_group_is_called_as_in_the_float_network() -> None:
    values = np.linspace(0, 1, 1000, dtype=np.float32).reshape(1, 1, 1, -1)
    seen = CalibrationStats(dict.fromkeys(["a.even", "b"], stats_of(values)), ())
    placement = Placement((point("a.even", "a.even"), point("b", "b")), ())
    found = choose_ranges(seen, placement, MINMAX, {"a": Percentile(percent=50)})
    assert found["a.even"].highest == pytest.approx(0.5, abs=1e-3)
    assert found["b"].highest == pytest.approx(1, abs=1e-6)


def test_a_pattern_of_groups_that_matches_nothing_is_told() -> None:
    seen = CalibrationStats({name: stats(0, 1) for name in "abc"}, ())
    with pytest.raises(RecipeError) as caught:
        choose_ranges(seen, PLACEMENT, MINMAX, {"d*": MinMax()})
    assert str(caught.value).startswith("$.group_ranges: pattern 'd*' matches no tensor (")


def test_a_tensor_that_was_not_observed_is_named() -> None:
    seen = {"a": stats(-1, 2), "c": stats(0, 9)}
    with pytest.raises(CalibrationError) as caught:
        choose_ranges(CalibrationStats(seen, ()), PLACEMENT, MINMAX)
    assert str(caught.value) == "b: was not observed (calibrate again with this model)"


@pytest.mark.parametrize("ends", [(0.0, np.inf), (-np.inf, 0.0), (np.nan, 1.0), (2.0, 1.0)])
def test_a_range_that_is_none_is_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(CalibrationError, match="range"):
        Range(*ends)
