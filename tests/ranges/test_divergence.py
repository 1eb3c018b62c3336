from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detq.ranges.divergence import Form, _lower_bound, bins_to_keep, divergences
from tests.reference import ranges as slow

FORMS: tuple[Form, ...] = ("strict", "exact", "masked", "published")
each_form = pytest.mark.parametrize("form", FORMS)


def shape(kind: str, bins: int = 96) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    magnitudes = np.abs(rng.standard_normal(3000))
    return np.array({
        "normal": slow.histogram(magnitudes, bins),
        "heavy": slow.histogram(magnitudes**3, bins),
        "two": [*slow.histogram(magnitudes, bins - 30), *[0.0] * 29, 1.0],
        "sparse": [*rng.poisson(0.2, bins - 1).tolist(), 1.0],
        "shares": (rng.random(bins) * (rng.random(bins) > 0.3)).tolist(),
        "last": [0.0] * (bins - 1) + [7.0],
    }[kind])  # fmt: skip


SHAPES = ("normal", "heavy", "two", "sparse", "shares", "last")


@each_form
@pytest.mark.parametrize("levels", [8, 15, 96])
@pytest.mark.parametrize("kind", SHAPES)
def test_every_candidate_has_the_divergence_of_the_formula(
    kind: str, levels: int, form: Form
) -> None:
    counts = shape(kind)
    kept = np.arange(levels, len(counts) + 1)
    _, wanted = slow.least(counts.tolist(), levels, form)
    np.testing.assert_allclose(
        divergences(counts, levels, form, kept), wanted, rtol=1e-9, atol=1e-11
    )


@each_form
@pytest.mark.parametrize("levels", [8, 15])
@pytest.mark.parametrize("kind", SHAPES)
def test_the_least_is_found(kind: str, levels: int, form: Form) -> None:
    counts = shape(kind)
    best, wanted = slow.least(counts.tolist(), levels, form)
    found = bins_to_keep(counts, levels, form)
    assert wanted[found - levels] <= wanted[best - levels] + 1e-11
    assert found >= best or wanted[found - levels] < wanted[best - levels]


@each_form
@settings(max_examples=40)
@given(
    counts=st.lists(st.integers(0, 50), min_size=40, max_size=80).filter(any),
    levels=st.integers(2, 30),
)
def test_leaving_candidates_out_changes_nothing(counts: list[int], levels: int, form: Form) -> None:
    array = np.array(counts, np.float64)
    kept = np.arange(levels, len(counts) + 1)
    every = divergences(array, levels, form, kept)
    found = bins_to_keep(array, levels, form)
    assert every[found - levels] == every.min()
    assert (every[found - levels + 1 :] > every.min()).all()


@settings(max_examples=40)
@given(
    counts=st.lists(st.integers(0, 50), min_size=40, max_size=80).filter(any),
    levels=st.integers(2, 30),
)
def test_two_parts_diverge_no_more_than_all(counts: list[int], levels: int) -> None:
    array = np.array(counts, np.float64)
    kept = np.arange(levels, len(counts) + 1)
    bound = _lower_bound(array, levels, kept)
    for form in ("strict", "exact"):
        assert (bound <= divergences(array, levels, form, kept) + 1e-9).all()


def test_two_parts_are_all_where_nothing_else_is_lost() -> None:
    counts = np.arange(20.0, 0, -1)
    kept = np.array([8])  # as many as there are levels: what is clipped is all that is lost
    wanted = divergences(counts, 8, "strict", kept)
    np.testing.assert_allclose(_lower_bound(counts, 8, kept), wanted, rtol=1e-9)


def test_a_clipped_bin_where_nothing_was_kept_rules_a_candidate_out() -> None:
    counts = np.array([4.0, 3.0, 0.0, 0.0, 1.0])
    kept = np.array([2, 3, 4, 5])
    assert divergences(counts, 2, "strict", kept)[1:3].tolist() == [inf, inf]
    assert np.isfinite(divergences(counts, 2, "exact", kept)).all()
    assert (divergences(counts, 2, "masked", kept)[1:3] < 0).any()


def test_the_published_form_adds_to_what_is_clipped() -> None:
    counts = shape("normal")
    kept = np.arange(8, 97)
    exact, published = (divergences(counts, 8, form, kept) for form in ("strict", "published"))
    finite = np.isfinite(exact[:-1])
    assert (published[:-1] > exact[:-1])[finite].all()
    assert published[-1] == pytest.approx(exact[-1], rel=1e-12)
