"""What is to be reached, what was tried for it, and which of that is worth having."""

import math
from collections.abc import Iterable

import msgspec

from detq.errors import InputError


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be reached; None where it does not matter.

    Attributes:
        max_drop: points that may be lost: of AP (0 to 100) with labels, else of agreement.
        max_latency_ms: per image on the engine.
        min_speedup: over the float model on the same engine.
    """

    max_drop: float | None = None
    max_latency_ms: float | None = None
    min_speedup: float | None = None

    def __post_init__(self) -> None:
        given = (self.max_drop, self.max_latency_ms, self.min_speedup)
        if all(x is None for x in given):
            raise InputError(
                "nothing to reach",
                where="budget",
                hint="give --max-drop, --max-latency-ms, --min-speedup, or --sensitivity",
            )
        for name, x, least in zip(("--max-drop", "--max-latency-ms", "--min-speedup"), given,
                                  (0, 1e-6, 1e-6), strict=True):  # fmt: skip
            if x is not None and not least <= x < float("inf"):
                raise InputError(f"{x:g} is no budget", where=name, hint="give a number above 0")

    @property
    def needs_latency(self) -> bool:
        """Whether something has to be timed."""
        return self.max_latency_ms is not None or self.min_speedup is not None


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One recipe that was made and judged.

    Attributes:
        what: changed against the point it came from, for people.
        recipe: as YAML; ``detq run`` makes the same file of it.
        float_layers: left float by the search.
        float_macs: their share of the network's multiplications, 0 to 1.
        agreement: AP of its boxes with the float network's as the truth, 0 to 1.
        ap: COCO's, 0 to 1; None without labels, or where only the agreement was asked for.
        drop: points lost, of AP with labels, else of agreement; None where not known yet.
        latency_ms: per image; None where nothing was timed.
        speedup: over the float model; None where nothing was timed.
        sha256: of the file.
        cpu_seconds: to make and judge it.
    """

    what: str
    recipe: str
    float_layers: tuple[str, ...]
    float_macs: float
    agreement: float
    ap: float | None = None
    drop: float | None = None
    latency_ms: float | None = None
    speedup: float | None = None
    sha256: str = ""
    cpu_seconds: float = 0.0

    @property
    def cost(self) -> float:
        """Milliseconds where they are known, else the share of float multiplications."""
        return self.float_macs if self.latency_ms is None else self.latency_ms


def fast_enough(tried: Tried, budget: Budget) -> bool:
    """Whether the part of a budget that is about time is kept; a time not known keeps none."""
    ms = math.inf if tried.latency_ms is None else tried.latency_ms
    slow = budget.max_latency_ms is not None and ms > budget.max_latency_ms
    little = budget.min_speedup is not None and (tried.speedup or 0.0) < budget.min_speedup
    return not (slow or little)


def exact_enough(tried: Tried, budget: Budget) -> bool:
    """Whether the part of a budget that is about accuracy is kept."""
    if budget.max_drop is None:
        return True
    return tried.drop is not None and tried.drop <= budget.max_drop + 1e-9  # of a difference


def reached(tried: Tried, budget: Budget) -> bool:
    """Whether all of a budget is kept."""
    return fast_enough(tried, budget) and exact_enough(tried, budget)


def front(tried: Iterable[Tried]) -> tuple[Tried, ...]:
    """Those that no other beats in accuracy and cost, the cheapest first.

    Args:
        tried: those without a ``drop`` are left out.
    """
    judged = [one for one in tried if one.drop is not None]
    found: list[Tried] = []
    for one in sorted(judged, key=lambda t: (t.cost, t.drop)):
        if not found or (one.drop or 0.0) < (found[-1].drop or 0.0):
            found.append(one)
    return tuple(found)


def best_of(tried: Iterable[Tried], budget: Budget) -> Tried:
    """The point to take: the cheapest that keeps the budget, else what comes nearest to it.

    With a limit on time alone it is the most exact of those that are fast enough.
    """
    judged = [one for one in tried if one.drop is not None]
    kept = [one for one in judged if reached(one, budget)]
    if kept and budget.max_drop is not None:
        return min(kept, key=lambda t: (t.cost, t.drop))
    fast = [one for one in judged if fast_enough(one, budget)]
    if fast:
        return min(fast, key=lambda t: (t.drop, t.cost))
    return min(judged, key=lambda t: (t.cost, t.drop))
