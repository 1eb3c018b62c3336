from pathlib import Path

import pytest

from detq.recipe import Calibration, MinMax, Mse, Recipe
from detq.recipe_file import recipe_as_yaml, resolve_paths
from detq.tune.moves import MOVES

BARE = Recipe(
    checkpoint=Path("x.pt"),
    size=(64, 64),
    calibration=Calibration(data=Path("images")),
    range=MinMax(),
    channel_wise=None,
    learn=(),
)


@pytest.mark.parametrize(("what", "change"), MOVES, ids=[what for what, _ in MOVES])
def test_a_change_is_made_once_and_gives_a_recipe(what: str, change: object) -> None:
    def methods(recipe: Recipe) -> dict[str, Mse]:
        return {} if recipe.group_ranges else {"stem": Mse()}

    changed = change(BARE, methods)  # type: ignore[operator]
    assert recipe_as_yaml(changed) != recipe_as_yaml(BARE)
    resolve_paths(changed, Path("/"))  # every value is checked again
    assert change(changed, methods) is None  # type: ignore[operator]


def test_clipped_ranges_leave_channels_to_follow() -> None:
    from msgspec.structs import replace

    from detq.recipe import ChannelWise

    moves = dict(MOVES)
    even = replace(BARE, channel_wise=ChannelWise(range="minmax"))
    changed = moves["clipped ranges"](even, lambda recipe: {})
    assert changed is not None and changed.channel_wise == ChannelWise()
