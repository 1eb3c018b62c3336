"""The search for a budget: what costs no time first, then float layers, most gain per cost first.

Recipe choices are judged by agreement with the float network, which is cheap and needs no labels.
Float layers are bought in the order of the noise that they take from the head, over what they
cost. The number that is needed is found by doubling and halving, so that a hundred layers take
about ten evaluations; afterwards layers that turn out not to be needed are given back, the
dearest first. The same answers lead along the same way: a search that was interrupted and finds
the answers of before goes on where it was.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from typing import Protocol

from msgspec.structs import replace

from detq.recipe import RangeMethod, Recipe
from detq.recipe_file import recipe_as_json
from detq.tune.budget import Budget, Tried, best_of, exact_enough, fast_enough, front, reached
from detq.tune.moves import MOVES

REASON = "tune: costs more accuracy than it saves time"
LEAST_COST = 0.1  # of the mean: no layer is free, each makes a float island and takes evaluations
LEAST_AGREEMENT = 0.002  # AP, 0 to 1: what one evaluation on some dozens of images can tell


class Judge(Protocol):
    """What makes and measures recipes, and keeps the answers."""

    def quickly(self, recipe: Recipe, what: str, layers: tuple[str, ...]) -> Tried:
        """Agreement alone."""
        ...

    def fully(self, recipe: Recipe, what: str, layers: tuple[str, ...]) -> Tried:
        """Also accuracy, and latency where the budget asks for it."""
        ...

    def gains(self, recipe: Recipe) -> Mapping[str, float]:
        """INT8 layer → noise that its float form takes from the head."""
        ...

    def cost(self, layer: str) -> float:
        """Of leaving a layer float, to weigh gains and layers against each other."""
        ...

    def methods(self, recipe: Recipe) -> Mapping[str, RangeMethod]:
        """Pattern of tie groups → a range method that passes on less noise."""
        ...


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        best: the point to take.
        kept: whether it keeps the budget.
        front: of accuracy against cost.
        tried: everything, in order.
    """

    best: Tried
    kept: bool
    front: tuple[Tried, ...]
    tried: tuple[Tried, ...]


class _Spent(Exception):  # noqa: N818 - no error: the end of the search
    """As many evaluations as were allowed."""


def search(
    start: Recipe,
    judge: Judge,
    budget: Budget,
    *,
    evaluations: int,
    on_tried: Callable[[Tried], None] = lambda tried: None,
) -> Found:
    """Find the recipe that keeps a budget at the least cost.

    Args:
        start: where to begin.
        judge: makes and measures recipes.
        budget: to keep.
        evaluations: most of them, quick ones included.
        on_tried: told each answer.
    """
    way = _Way(start, judge, budget, evaluations, on_tried)
    try:
        way.improve_recipe()
        if budget.max_drop is not None:
            way.buy_accuracy()
            way.give_back()
        else:
            way.spend_time()
    except _Spent:
        pass
    tried = tuple(way.tried)
    best = best_of(tried, budget)
    return Found(best, reached(best, budget), front(tried), tried)


class _Way:
    """One search."""

    def __init__(
        self,
        start: Recipe,
        judge: Judge,
        budget: Budget,
        evaluations: int,
        on_tried: Callable[[Tried], None],
    ) -> None:
        self._recipe, self._judge, self._budget = start, judge, budget
        self._left, self._on_tried = evaluations, on_tried
        self.tried: list[Tried] = []
        self._chosen: tuple[str, ...] = ()  # layers left float, as they were bought
        self._known: dict[str, Tried] = {}

    def improve_recipe(self) -> None:
        """Choices that cost next to no time, each kept if the boxes agree better."""
        best = self._fully((), "start")
        for what, change in MOVES:
            if self._budget.max_drop is not None and reached(best, self._budget):
                return
            changed = change(self._recipe, self._judge.methods)
            if changed is None:
                continue
            found = self._ask(self._judge.quickly, changed, what, ())
            if found.agreement > best.agreement + LEAST_AGREEMENT:
                self._recipe = changed
                best = self._fully((), what)

    def buy_accuracy(self) -> None:
        """Float layers until the drop is small enough, no more than need be."""
        if self._is_exact(()):
            return
        few, step = 0, 1
        while order := self._order(self._chosen):
            few = len(self._chosen)
            self._chosen = (*self._chosen, *order[:step])
            if self._is_exact(self._chosen):
                break
            step *= 2
        else:
            return
        many = len(self._chosen)
        while many - few > 1:
            middle = (few + many) // 2
            if self._is_exact(self._chosen[:middle]):
                many = middle
            else:
                few = middle
        self._chosen = self._chosen[:many]

    def give_back(self) -> None:
        """Layers without which the drop stays small enough, the dearest first."""
        for layer in sorted(self._chosen, key=self._judge.cost, reverse=True):
            left = tuple(x for x in self._chosen if x != layer)
            if left and self._is_exact(left):
                self._chosen = left

    def spend_time(self) -> None:
        """As many float layers as the time allows: the more of them, the more exact."""
        if not self._is_fast(()):
            return
        order = self._order(())
        few, many = 0, len(order) + 1
        while many - few > 1:
            middle = (few + many) // 2
            if self._is_fast(order[:middle]):
                few = middle
            else:
                many = middle

    def _order(self, chosen: tuple[str, ...]) -> tuple[str, ...]:
        """The other layers by gain over cost, asked in the network that has ``chosen`` in float."""
        gains = self._judge.gains(self._left_float(chosen))
        costs = {x: self._judge.cost(x) for x, gain in gains.items() if gain > 0}
        least = LEAST_COST * sum(costs.values()) / max(len(costs), 1) or 1.0
        worth = {x: gains[x] / max(costs[x], least) for x in costs if x not in chosen}
        return tuple(sorted(worth, key=lambda layer: -worth[layer]))

    def _is_exact(self, layers: tuple[str, ...]) -> bool:
        return exact_enough(self._fully(layers, _told(layers)), self._budget)

    def _is_fast(self, layers: tuple[str, ...]) -> bool:
        return fast_enough(self._fully(layers, _told(layers)), self._budget)

    def _fully(self, layers: tuple[str, ...], what: str) -> Tried:
        """Judge the recipe with some layers float, unless this search has done so."""
        recipe = self._left_float(layers)
        key = recipe_as_json(recipe)
        if key not in self._known:
            self._known[key] = self._ask(self._judge.fully, recipe, what, layers)
        return self._known[key]

    def _left_float(self, layers: tuple[str, ...]) -> Recipe:
        added = dict.fromkeys((escape(layer) for layer in layers), REASON)
        return replace(self._recipe, float_layers={**self._recipe.float_layers, **added})

    def _ask(
        self,
        judge: Callable[[Recipe, str, tuple[str, ...]], Tried],
        recipe: Recipe,
        what: str,
        layers: tuple[str, ...],
    ) -> Tried:
        if not self._left:
            raise _Spent
        self._left -= 1
        found = judge(recipe, what, layers)
        self.tried.append(found)
        self._on_tried(found)
        return found


def _told(layers: Sequence[str]) -> str:
    return f"{len(layers)} float layer{'' if len(layers) == 1 else 's'}"
