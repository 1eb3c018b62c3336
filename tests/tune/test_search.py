"""The search on made-up layers with known gains and costs: no network, no engine."""

from collections.abc import Mapping
from glob import escape
from pathlib import Path

import pytest

from detq.recipe import Calibration, Mse, RangeMethod, Recipe
from detq.recipe_file import recipe_as_yaml
from detq.tune.budget import Budget, Tried
from detq.tune.search import Found, search

PLAIN = Recipe(
    checkpoint=Path("x.pt"),
    size=(64, 64),
    calibration=Calibration(data=Path("images")),
    channel_wise=None,
    learn=(),
)


class Made:
    """Points lost by each choice and each layer; they add up."""

    def __init__(self, losses: Mapping[str, float], costs: Mapping[str, float]) -> None:
        self.losses, self.costs = dict(losses), dict(costs)
        self.full: list[tuple[str, ...]] = []
        self.asked = 0

    def _drop(self, recipe: Recipe) -> float:
        left = {name for name in self.losses if escape(name) not in recipe.float_layers}
        of_recipe = 2.0 * (recipe.channel_wise is None) + 1.0 * (not recipe.learn)
        return of_recipe + sum(self.losses[name] for name in left)

    def quickly(self, recipe: Recipe, what: str, layers: tuple[str, ...]) -> Tried:
        drop = self._drop(recipe)
        return Tried(
            what=what,
            recipe=recipe_as_yaml(recipe),
            float_layers=layers,
            float_macs=sum(self.costs[x] for x in layers),
            agreement=1 - drop / 20,
        )

    def fully(self, recipe: Recipe, what: str, layers: tuple[str, ...]) -> Tried:
        from msgspec.structs import replace

        self.full.append(layers)
        found = self.quickly(recipe, what, layers)
        ms = 5 + 10 * found.float_macs
        return replace(found, drop=self._drop(recipe), latency_ms=ms, speedup=15 / ms)

    def gains(self, recipe: Recipe) -> Mapping[str, float]:
        self.asked += 1
        return {x: self.losses[x] for x in self.losses if escape(x) not in recipe.float_layers}

    def cost(self, layer: str) -> float:
        return self.costs[layer]

    def methods(self, recipe: Recipe) -> Mapping[str, RangeMethod]:
        return {"stem": Mse()}


MANY = {f"layer[{n}]": 0.01 for n in range(60)}
LOSSES = {**MANY, "bad": 1.0, "dear": 0.3, "cheap": 0.2}
COSTS = {**dict.fromkeys(MANY, 0.01), "bad": 0.02, "dear": 0.3, "cheap": 0.001}


def found(made: Made, evaluations: int = 60, **limits: float) -> Found:
    return search(PLAIN, made, Budget(**limits), evaluations=evaluations)


def test_choices_without_cost_come_first_and_may_be_enough() -> None:
    made = Made(LOSSES, COSTS)
    result = found(made, max_drop=2.2)
    assert result.kept
    assert result.best.float_layers == ()
    assert "channel_wise: null" not in result.best.recipe
    assert "method: qprep" in result.best.recipe
    assert "group_ranges: {}" in result.best.recipe  # enough before it was its turn


def test_float_layers_are_bought_by_gain_over_cost() -> None:
    made = Made(LOSSES, COSTS)
    result = found(made, max_drop=0.95)  # of 2.1 that the layers lose
    assert result.kept
    assert set(result.best.float_layers) == {"bad", "cheap"}
    assert result.best.drop == pytest.approx(0.9, abs=1e-9)


def test_many_layers_take_few_evaluations() -> None:
    made = Made(MANY, COSTS)
    result = found(made, evaluations=99, max_drop=0.305)
    assert result.kept
    assert len(result.best.float_layers) == 30
    assert result.best.drop == pytest.approx(0.3, abs=1e-9)
    # Up to 2^5 - 1 by doubling, down by halving; then each of the 30 is tried for giving back.
    assert len(made.full) - 30 <= 5 + 5 + 4
    assert made.asked <= 6


def test_a_layer_that_is_not_needed_is_given_back() -> None:
    losses = {"first": 0.5, "second": 0.45, "last": 2.0}
    made = Made(losses, {"first": 0.01, "second": 0.02, "last": 0.2})
    result = found(made, max_drop=0.96)
    assert result.best.float_layers == ("last",)


def test_of_two_that_could_be_given_back_it_is_the_dearer() -> None:
    made = Made({"p": 0.3, "q": 0.5, "r": 1.9}, {"p": 0.1, "q": 0.2, "r": 0.9})
    assert set(found(made, max_drop=0.6).best.float_layers) == {"p", "r"}


def test_a_budget_that_cannot_be_kept_tells_the_nearest_point() -> None:
    made = Made({"bad": 1.0}, {"bad": 0.1})
    made.losses["head"] = 0.5
    made.gains = lambda recipe: {"bad": 1.0}  # type: ignore[method-assign, assignment]
    result = found(made, max_drop=0.2)
    assert not result.kept
    assert result.best.float_layers == ("bad",)
    assert result.best.drop == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize("limit", [1, 2, 5, 9])
def test_no_more_evaluations_than_allowed(limit: int) -> None:
    made = Made(LOSSES, COSTS)
    result = found(made, evaluations=limit, max_drop=0.01)
    assert len(result.tried) <= limit
    assert result.best.drop is not None


def test_time_that_is_left_is_spent_on_accuracy() -> None:
    made = Made(LOSSES, COSTS)
    result = found(made, max_latency_ms=5.5)
    assert result.kept
    assert result.best.latency_ms is not None and result.best.latency_ms <= 5.5
    # bad, cheap, and two of the sixty: another would take 5.51 ms.
    assert len(result.best.float_layers) == 4
    assert found(Made(LOSSES, COSTS), min_speedup=2.9).kept
    slow = found(Made(LOSSES, COSTS), max_latency_ms=4)
    assert not slow.kept
    assert slow.best.latency_ms == pytest.approx(5, abs=1e-9)


def test_the_same_answers_lead_along_the_same_way() -> None:
    one, two = (found(Made(LOSSES, COSTS), max_drop=0.5) for _ in range(2))
    assert one == two
    assert all(point in one.tried for point in one.front)
