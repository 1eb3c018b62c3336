import pytest

from detq_eval.report.text import in_decibels, megabytes, number, points, share, signed


@pytest.mark.parametrize(
    ("value", "text"), [(0.2532, "25.32"), (0, "0.00"), (-1, "–"), (1, "100.00")]
)
def test_points(value: float, text: str) -> None:
    assert points(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1.5, "+1.50"), (-1.5, "−1.50"), (0.001, "0.00"), (-0.001, "0.00")]
)
def test_signed(value: float, text: str) -> None:
    assert signed(value) == text


def test_others() -> None:
    assert (number(-12.345), number(0), number(1e-7)) == ("−12.3", "0", "1e−07")
    assert (megabytes(1_227_800), megabytes(4_300)) == ("1.2 MB", "0.00 MB")
    assert [share(x) for x in (0, 5e-5, 0.0123)] == ["none", "under 0.01\u00a0%", "1.23\u00a0%"]


def test_in_decibels() -> None:
    told = [in_decibels(x) for x in (30.04, -1.26, float("inf"), float("-inf"))]
    assert told == ["30.0 dB", "−1.3 dB", "no noise", "no signal"]
