import numpy as np
import pytest

from detq.numerics import ACTIVATIONS
from detq.plan import Placement, QuantPoint
from detq.recipe import Mse, Percentile
from detq.stats import CalibrationStats, stats_of
from detq.tune.methods import METHODS, best_methods, scales_by_method
from detq.tune.records import GroupSensitivity, Sensitivity


def group(name: str, passed: float, **by_method: float) -> GroupSensitivity:
    return GroupSensitivity(group=name, members=1, own=0.1, passed=passed, by_method=by_method)


def test_only_groups_that_gain_get_a_method() -> None:
    groups = (
        group("much[0]", 1.0, minmax=1.0, mse=0.5, percentile=0.7),
        group("little", 1.0, minmax=1.0, mse=0.9),
        group("best as it is", 1.0, minmax=1.0, percentile=1.5),
        group("not looked at", 1.0),
        group("some.even", 1.0, minmax=1.0, percentile=0.7),
    )
    found = Sensitivity(file="", images=1, head=1.0, layers=(), groups=groups)
    assert best_methods(found) == {"much[[]0]": Mse(), "some": Percentile()}


def test_every_method_gives_its_scale() -> None:
    values = np.random.default_rng(0).laplace(size=(1, 1, 1, 100_000)).astype(np.float32)
    seen = CalibrationStats({"a": stats_of(values)}, ())
    placement = Placement((QuantPoint("a", (), ACTIVATIONS, "a", ""),), ())
    found = scales_by_method(seen, placement)["a"]
    assert list(found) == list(METHODS)
    largest = float(np.abs(values).max())
    assert found["minmax"] == pytest.approx(largest / 127, rel=1e-6)
    assert all(0 < scale <= found["minmax"] * (1 + 1e-6) for scale in found.values())
    assert found["percentile"] < found["minmax"]
