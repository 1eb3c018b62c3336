"""A grid of recipes and checkpoints: what ``detq sweep`` runs, read from YAML.

::

    base: recipe.yaml
    checkpoints: {n: n.pt, s: s.pt}
    recipes:
      minmax: {range: {method: minmax}}
      mse, qprep: {range: {method: mse}, learn: {method: qprep}}

Every recipe is the base with other values; a section that is given replaces its own keys alone.
Without ``checkpoints`` it is the base's.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from detq.errors import RecipeError, remedy_for_name
from detq.recipe import Recipe
from detq.recipe_file import (
    read_mapping,
    read_recipe,
    recipe_as_mapping,
    recipe_from_mapping,
    resolve_paths,
)

_EXAMPLE = "keys are base, checkpoints and recipes; see docs/tuning.md"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")  # in the name of a folder


class Grid(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a grid file holds.

    Attributes:
        base: recipe that all have in common, relative to the grid.
        checkpoints: name → file, relative to the grid; the base's if there is none.
        recipes: name → values instead of the base's.
    """

    base: str
    checkpoints: dict[str, str] = {}
    recipes: dict[str, dict[str, Any]] = {}


def read_grid(path: Path) -> dict[str, Recipe]:
    """Name of each cell → its recipe, with absolute paths.

    Raises:
        RecipeError: with the file and the place in it, such as ``$.recipes.mse.range.method``.
    """
    grid = _grid(path)
    base_file = path.parent / grid.base
    if not base_file.is_file():
        raise RecipeError(
            f"no such recipe: {grid.base}", where=f"{path}: $.base", hint="relative to the grid"
        )
    base = resolve_paths(read_recipe(base_file), base_file.parent, where=str(base_file))
    checkpoints: Mapping[str, str | None] = grid.checkpoints or {"": None}
    cells: dict[str, Recipe] = {}
    for name, changes in (grid.recipes or {"base": {}}).items():
        for checkpoint, file in checkpoints.items():
            where = f"{path}: $.recipes.{name}" if name in grid.recipes else str(path)
            raw = _merged(recipe_as_mapping(base), changes)
            if file is not None:
                raw["checkpoint"] = file
            recipe = resolve_paths(_recipe(raw, where), path.parent, where=where)
            cell = _UNSAFE.sub("_", f"{checkpoint}.{name}" if checkpoint else name)
            if cell in cells:
                raise RecipeError(
                    f"two cells would be called {cell!r}", where=where, hint="give other names"
                )
            cells[cell] = recipe
    return cells


def _grid(path: Path) -> Grid:
    raw = read_mapping(path, _EXAMPLE)
    try:
        return msgspec.convert(raw, Grid)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `")
        unknown = re.search(r"unknown field `(.+)`", what)
        hint = remedy_for_name(unknown[1], Grid.__struct_fields__) if unknown else _EXAMPLE
        raise RecipeError(what, where=f"{path}: {place.rstrip('`') or '$'}", hint=hint) from error


def _recipe(raw: dict[str, Any], where: str) -> Recipe:
    try:
        return recipe_from_mapping(raw, where)
    except RecipeError as error:
        # The place inside of the recipe goes on where the grid's ends.
        place = error.where.replace(f"{where}: $", where)
        raise RecipeError(error.what, where=place, hint=error.hint) from error


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The base with some values replaced, sections key by key; one with a method as a whole."""
    found = dict(base)
    for key, value in changes.items():
        old = found.get(key)
        whole = isinstance(value, dict) and "method" in value
        if isinstance(old, dict) and isinstance(value, dict) and value and not whole:
            found[key] = _merged(old, value)
        else:
            found[key] = value
    return found
