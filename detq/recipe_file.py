"""Recipes as text: read from YAML with every error placed, written as YAML or JSON.

Paths are kept as they were written, so that a recipe can travel; :func:`resolve_paths` makes them
absolute on the machine at hand.
"""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn, get_args

import msgspec
from msgspec import Struct

from detq import strict_yaml
from detq.errors import RecipeError, remedy_for_name
from detq.recipe import Recipe

_EXAMPLES = "see detq config --explain"
_NO_HOME = "no such home folder:"


def read_recipe(path: Path) -> Recipe:
    """Read a YAML recipe; paths in it stay as written.

    Raises:
        RecipeError: with the file and the place in it, such as ``$.range.method``.
    """
    return recipe_from_mapping(read_mapping(path, _EXAMPLES), str(path))


def read_mapping(path: Path, hint: str) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Raises:
        RecipeError: it cannot be read, or is something else.
    """
    try:
        raw = strict_yaml.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"cannot be read: {error.strerror}", where=str(path), hint="give a YAML file"
        ) from error
    except ValueError as error:
        raise RecipeError(f"is not YAML: {error}", where=str(path), hint=hint) from error
    if not isinstance(raw, dict):
        raise RecipeError("is not a mapping of keys to values", where=str(path), hint=hint)
    return raw


def recipe_from_mapping(raw: dict[str, Any], where: str) -> Recipe:
    """A recipe as YAML has it; paths stay as written.

    Args:
        raw: keys and values, with the short forms that a file may use.
        where: its name in an error.

    Raises:
        RecipeError: with the place in it, such as ``$.range.method``.
    """
    raw = dict(raw)
    if type(raw.get("size")) is int:
        raw["size"] = [raw["size"]] * 2
    if raw.get("range") == {}:
        del raw["range"]  # the default, as for other sections
    if isinstance(raw.get("learn"), dict):
        raw["learn"] = [raw["learn"]]
    return _recipe_from(raw, Path, where)


def resolve_paths(
    recipe: Recipe, folder: Path, *, where: str = "recipe", expand: bool = True
) -> Recipe:
    """The same recipe with absolute paths; every value is checked again.

    ``${NAME}`` stands for an environment variable, ``~`` for the home folder; what is still
    relative starts from ``folder``.

    Args:
        recipe: as read, or as changed by ``msgspec.structs.replace``, which checks nothing.
        folder: the recipe file's, or the current one.
        where: the recipe's name in an error.
        expand: variables and ``~``; not where a shell has done so, and a folder may be called so.

    Raises:
        RecipeError: a variable is not set, there is no such home folder, or a value is out of its
            range.
    """
    expanded = _expanded if expand else Path

    def absolute(text: str) -> Path:
        return Path(os.path.abspath(folder / expanded(text)))

    return _recipe_from(_as_builtins(recipe), absolute, where)


def changed_recipe(recipe: Recipe, where: str, **fields: Any) -> Recipe:
    """A recipe with other values, checked together.

    Args:
        recipe: as it was.
        where: what asks for the change, in an error.
        fields: name in the recipe → value.

    Raises:
        RecipeError: the values do not go together.
    """
    try:
        return msgspec.structs.replace(recipe, **fields)
    except ValueError as error:
        raise RecipeError(str(error), where=where, hint=_EXAMPLES) from error


def recipe_as_yaml(recipe: Recipe) -> str:
    """Text that ``read_recipe`` reads back as the same recipe, every field spelt out."""
    return strict_yaml.dump(_as_builtins(recipe))


def recipe_as_json(recipe: Recipe) -> str:
    """One line for metadata; the same recipe gives the same text."""
    return msgspec.json.encode(recipe, enc_hook=str).decode()


def recipe_as_mapping(recipe: Recipe) -> dict[str, Any]:
    """What ``recipe_from_mapping`` reads back as the same recipe, every field spelt out."""
    found: dict[str, Any] = _as_builtins(recipe)
    return found


def _as_builtins(recipe: Recipe) -> Any:
    return msgspec.to_builtins(recipe, enc_hook=str)


def _recipe_from(raw: Any, path_from: Callable[[str], Path], where: str) -> Recipe:
    def decode(_: type, value: Any) -> Path:  # Path is the only type msgspec does not know
        if not isinstance(value, str) or not value:
            raise ValueError("Expected a path")
        return path_from(value)

    try:
        return msgspec.convert(raw, Recipe, dec_hook=decode)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `")
        _refuse(what, place.rstrip("`") or "$", where, raw)


def _expanded(text: str) -> Path:
    def variable(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if not value:
            raise ValueError(f"environment variable {match[1]} is not set")
        return value

    path = Path(re.sub(r"\$\{([^}]*)\}", variable, text))
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"{_NO_HOME} {path.parts[0]}") from None


def _refuse(what: str, place: str, where: str, raw: Any) -> NoReturn:
    wrong = re.search(r"unknown field `(.+)`|[Ii]nvalid (?:enum )?value '(.+)'", what)
    unset = re.fullmatch(r"environment variable (\w+) is not set", what)
    hint = f"export {unset[1]}=FOLDER, or write the path" if unset else _EXAMPLES
    if what.startswith(_NO_HOME):
        hint = "write the whole path, from / on"
    if wrong:
        hint = remedy_for_name(wrong[1] or wrong[2], _words_at(place, raw))
    raise RecipeError(what, where=f"{where}: {place}", hint=hint)


def _words_at(place: str, raw: Any) -> list[str]:
    """What may stand at a place: the keys of a section, or the choices of a value."""
    found: list[Any] = [Recipe]
    here = raw
    for part, index in re.findall(r"\.(\w+)(?:\[(\d+)\])?", place):
        tags = [
            str(kind.__struct_config__.tag)
            for kind in _sections(found)
            if kind.__struct_config__.tag_field == part
        ]
        if tags:
            return tags
        found = [
            field.type
            for kind in _sections(found)
            for field in msgspec.structs.fields(kind)
            if field.name == part
        ]
        here = here.get(part) if isinstance(here, dict) else None
        here = here[int(index)] if index and isinstance(here, list) else here
    keys = [key for kind in _sections(found) if _may_be(kind, here) for key in _keys(kind)]
    return keys or [choice for kind in found for choice in _choices_of(kind)]


def _may_be(section: type[Struct], here: Any) -> bool:
    """Whether what stands there is of this kind, as far as it says."""
    config = section.__struct_config__
    said = here.get(config.tag_field) if isinstance(here, dict) and config.tag_field else None
    return said in (None, config.tag)


def _choices_of(kind: Any) -> Iterable[str]:
    """Of a literal, or of a tuple of them."""
    choices = get_args(kind)
    if all(isinstance(choice, str) for choice in choices):
        return choices
    return [word for choice in choices for word in get_args(choice)]


def _keys(section: type[Struct]) -> Iterable[str]:
    tag_field = section.__struct_config__.tag_field
    return (*((tag_field,) if tag_field else ()), *section.__struct_fields__)


def _sections(types: Iterable[Any]) -> list[type[Struct]]:
    """The structs among types and what those are made of: unions, lists of unions."""
    found = []
    for kind in types:
        found += [kind] if isinstance(kind, type) and issubclass(kind, Struct) else []
        found += _sections(get_args(kind))
    return found
