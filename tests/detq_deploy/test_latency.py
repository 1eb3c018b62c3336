import pytest

from detq_deploy.latency import Spread, speedup, spread


def test_spread_of_eleven() -> None:
    assert spread([10.0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]) == Spread(
        median=5, p10=1, p90=9, p99=pytest.approx(9.9), min=0
    )


def test_spread_of_one() -> None:
    assert spread([3.5]) == Spread(median=3.5, p10=3.5, p90=3.5, p99=3.5, min=3.5)


def test_speedup_is_taken_within_a_round() -> None:
    # The machine is three times slower in the second round, for both alike.
    assert speedup([2.0, 6.0], [1.0, 3.0]) == Spread(median=2, p10=2, p90=2, p99=2, min=2)


def test_rounds_of_both_belong_together() -> None:
    with pytest.raises(ValueError, match="shorter"):
        speedup([1.0, 2.0], [1.0])
