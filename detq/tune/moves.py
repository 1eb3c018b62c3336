"""Changes to a recipe that cost next to no time, as a search tries them one after the other."""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from detq.recipe import ChannelWise, CoarseFine, Mse, QPRep, RangeMethod, Recipe

Methods = Callable[[Recipe], Mapping[str, RangeMethod]]
Change = Callable[[Recipe, Methods], "Recipe | None"]


def _defaults(recipe: Recipe, methods: Methods) -> Recipe | None:
    """Choices that are good together, though one alone may look bad."""
    given = {"channel_wise": ChannelWise(), "range": Mse(), "learn": (QPRep(),)}
    changed = replace(recipe, **given)
    return None if changed == recipe else changed


def _channel_wise(recipe: Recipe, methods: Methods) -> Recipe | None:
    return None if recipe.channel_wise else replace(recipe, channel_wise=ChannelWise())


def _qprep(recipe: Recipe, methods: Methods) -> Recipe | None:
    return None if recipe.learn else replace(recipe, learn=(QPRep(),))


def _ranges(recipe: Recipe, methods: Methods) -> Recipe | None:
    found = methods(recipe)
    return replace(recipe, group_ranges={**recipe.group_ranges, **found}) if found else None


def _weights(recipe: Recipe, methods: Methods) -> Recipe | None:
    if recipe.weights.method != "minmax":
        return None
    return replace(recipe, weights=replace(recipe.weights, method="mse"))


def _clipped(recipe: Recipe, methods: Methods) -> Recipe | None:
    """Squared error decides on tensors, and on their channels, which follow."""
    if isinstance(recipe.range, Mse):
        return None
    even = recipe.channel_wise
    return replace(recipe, range=Mse(), channel_wise=even and replace(even, range=None))


def _coarse_fine(recipe: Recipe, methods: Methods) -> Recipe | None:
    return None if recipe.coarse_fine else replace(recipe, coarse_fine=CoarseFine())


# What changes, in the order in which it is tried: what gains most in most networks first.
MOVES: tuple[tuple[str, Change], ...] = (
    ("the default recipe", _defaults),
    ("channel-wise scales", _channel_wise),
    ("clipped ranges", _clipped),
    ("qprep", _qprep),
    ("ranges by tie group", _ranges),
    ("clipped weights", _weights),
    ("CFWS", _coarse_fine),
)
