"""What a recipe's docstrings and types say about each of its fields."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from docstring_parser import DocstringStyle, parse
from msgspec import Struct, inspect

from detq.recipe import Recipe


@cache
def sections() -> Mapping[str, type[Struct]]:
    """Every section that may stand in a recipe, the recipe first, by the name of its class."""
    return {kind.cls.__name__: kind.cls for kind in _structs(inspect.type_info(Recipe))}


def purpose(section: type[Struct]) -> str:
    """What a section is for, in one sentence."""
    return _plain(_parsed(section).short_description)


def meanings(section: type[Struct]) -> Mapping[str, str]:
    """Field → what it means, where a docstring says so; bases speak for their own fields."""
    return {
        param.arg_name: _plain(param.description)
        for base in reversed(section.__mro__)
        if issubclass(base, Struct) and base is not Struct
        for param in _parsed(base).params
    }


def structs_in(kind: inspect.Type) -> list[inspect.StructType]:
    """The sections that a value may be, or be a list of."""
    if isinstance(kind, inspect.StructType):
        return [kind]
    if isinstance(kind, inspect.UnionType):
        return [found for member in kind.types for found in structs_in(member)]
    if isinstance(kind, inspect.VarTupleType):
        return structs_in(kind.item_type)
    return []


def choices_in(kind: inspect.Type) -> Sequence[str]:
    """The words or whole numbers that a field takes; empty where they are not few."""
    if isinstance(kind, inspect.LiteralType):
        return [str(value) for value in kind.values]
    if isinstance(kind, inspect.IntType) and kind.ge is not None and kind.le is not None:
        return [f"{kind.ge} to {kind.le}"]
    if isinstance(kind, inspect.UnionType):
        return [word for member in kind.types for word in choices_in(member)]
    return choices_in(kind.item_type) if isinstance(kind, inspect.VarTupleType) else []


def _structs(kind: inspect.Type) -> Iterator[inspect.StructType]:
    for found in structs_in(kind):
        yield found
        for field in found.fields:
            yield from _structs(field.type)


def _parsed(section: type[Struct]) -> Any:
    return parse(section.__doc__ or "", DocstringStyle.GOOGLE)


def _plain(text: str | None) -> str:
    return " ".join((text or "").replace("``", "`").split())
