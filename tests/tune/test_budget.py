import pytest

from detq.errors import InputError
from detq.tune.budget import Budget, Tried, best_of, front, reached


def tried(drop: float | None, macs: float = 0.0, ms: float | None = None) -> Tried:
    return Tried(
        what=f"{drop} {macs} {ms}",
        recipe="",
        float_layers=(),
        float_macs=macs,
        agreement=0.9,
        drop=drop,
        latency_ms=ms,
        speedup=None if ms is None else 10 / ms,
    )


@pytest.mark.parametrize(
    ("point", "budget", "wanted"),
    [
        (tried(0.2), Budget(max_drop=0.2), True),
        (tried(0.1 + 0.2), Budget(max_drop=0.3), True),  # but for the last bit
        (tried(0.21), Budget(max_drop=0.2), False),
        (tried(-1.0), Budget(max_drop=0), True),
        (tried(None), Budget(max_drop=9), False),
        (tried(5, ms=8.0), Budget(max_latency_ms=8), True),
        (tried(5, ms=8.1), Budget(max_latency_ms=8), False),
        (tried(5), Budget(max_latency_ms=8), False),  # a time not known is no short one
        (tried(5, ms=5.0), Budget(min_speedup=2), True),
        (tried(5, ms=5.1), Budget(min_speedup=2), False),
        (tried(5), Budget(min_speedup=2), False),
        (tried(0.1, ms=9.0), Budget(max_drop=0.2, max_latency_ms=8), False),
    ],
)
def test_a_budget_is_kept_or_not(point: Tried, budget: Budget, wanted: bool) -> None:
    assert reached(point, budget) == wanted


def test_the_front_has_what_nothing_else_beats() -> None:
    points = [tried(1.0, 0.1), tried(0.5, 0.3), tried(0.6, 0.4), tried(2.0, 0.0), tried(0.5, 0.2)]
    assert [(one.drop, one.float_macs) for one in front([*points, tried(None, 0.0)])] == [
        (2.0, 0.0), (1.0, 0.1), (0.5, 0.2),
    ]  # fmt: skip


def test_the_best_is_the_cheapest_that_keeps_the_drop() -> None:
    points = [tried(1.0, 0.0), tried(0.3, 0.2), tried(0.1, 0.5)]
    assert best_of(points, Budget(max_drop=0.4)) is points[1]
    assert best_of(points, Budget(max_drop=0.05)) is points[2]  # the nearest


def test_the_best_within_a_time_is_the_most_exact() -> None:
    points = [tried(1.0, ms=5.0), tried(0.3, ms=7.0), tried(0.1, ms=9.0)]
    assert best_of(points, Budget(max_latency_ms=8)) is points[1]
    assert best_of(points, Budget(max_latency_ms=4)) is points[0]  # the nearest


def test_what_is_no_budget() -> None:
    with pytest.raises(InputError, match="nothing to reach"):
        Budget()
    with pytest.raises(InputError, match="--max-drop: -1 is no budget"):
        Budget(max_drop=-1)
    with pytest.raises(InputError, match="--min-speedup: nan is no budget"):
        Budget(min_speedup=float("nan"))
