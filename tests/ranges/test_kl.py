from importlib import import_module

import numpy as np
import pytest
from numpy.typing import NDArray

from detq.numerics import Grid
from detq.ranges.divergence import Form
from detq.ranges.kl import kl
from detq.recipe import Kl
from detq.stats import TensorStats, stats_of
from tests.reference import ranges as slow

BINS = 256  # the reference goes through bins one by one
FORMS: tuple[Form, ...] = ("exact", "masked", "published")


def seen(x: NDArray[np.float64]) -> TensorStats:
    return stats_of(x.reshape(1, 1, -1).astype(np.float32))


def sample(kind: str) -> NDArray[np.float64]:
    """Values from -0.75 to 1.5, where equal bins are whole bins of the statistics."""
    normal = np.random.default_rng(0).standard_normal(6000)
    shapes = {"relu": np.maximum(normal, 0), "signed": normal, "heavy": normal**3}
    x = shapes[kind].astype(np.float32)
    x = (x * np.float32(0.7) / np.abs(x).max()).astype(np.float32)
    x[0] = 1.5
    if kind != "relu":
        x[1] = -0.75
    return x.astype(np.float64)


def slowly(magnitudes: NDArray[np.float64], levels: int, form: Form, guard: float) -> float:
    magnitudes = magnitudes[magnitudes > 0]
    if not magnitudes.size:
        return 0.0
    best, _ = slow.least(slow.histogram(magnitudes, BINS), levels, form)
    largest = float(magnitudes.max())
    return max(best * largest / BINS, slow.percentile(magnitudes, guard, signed=False))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("grid", "levels"), [(Grid(5), 16), (Grid(4), 8), (Grid(4, signed=False), 15)]
)
@pytest.mark.parametrize("kind", ["relu", "signed", "heavy"])
def test_it_is_the_definition_on_each_side(
    monkeypatch: pytest.MonkeyPatch, kind: str, grid: Grid, levels: int, form: Form
) -> None:
    monkeypatch.setattr(import_module("detq.ranges.kl"), "BINS", BINS)
    x = sample(kind)
    found = kl(seen(x), grid, Kl(divergence=form, guard=90))
    bin_ = 1.5 / 2048  # of the percentile
    assert found.highest == pytest.approx(slowly(x, levels, form, 90), rel=0, abs=bin_)
    below = slowly(-x, levels, form, 90) if grid.signed else 0.0
    assert -found.lowest == pytest.approx(below, rel=0, abs=bin_)


@pytest.mark.parametrize(
    ("form", "wanted"), [("exact", 4.50), ("masked", 3.35), ("published", 4.34)]
)
def test_the_forms_differ_on_half_a_normal_distribution(form: Form, wanted: float) -> None:
    x = np.abs(np.random.default_rng(0).standard_normal(400_000))
    found = kl(seen(x), Grid(), Kl(divergence=form, guard=99.9)).highest
    assert found == pytest.approx(wanted, abs=0.05)


def test_zeros_play_no_part() -> None:
    x = np.abs(np.random.default_rng(0).standard_normal(20_000)) + 1e-6
    many = np.append(x, np.zeros(200_000))
    assert kl(seen(many), Grid(), Kl()) == kl(seen(x), Grid(), Kl())


@pytest.mark.parametrize("guard", [99.0, 99.9, 100.0])
def test_it_stays_above_the_guard(guard: float) -> None:
    x = np.random.default_rng(0).standard_normal(50_000) ** 3
    found = kl(seen(x), Grid(4), Kl(divergence="masked", guard=guard))
    for side, end in ((x[x > 0], found.highest), (-x[x < 0], -found.lowest)):
        assert end >= np.float32(np.percentile(side, guard, method="inverted_cdf"))
