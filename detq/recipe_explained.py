"""A recipe with every default and what each field means, as YAML for people."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from msgspec import Struct, inspect, to_builtins

from detq import strict_yaml
from detq.recipe import Calibration, Recipe
from detq.recipe_fields import choices_in, meanings, purpose, structs_in

WIDTH = 96

# What stands where a recipe has no default, by the field's name.
_EXAMPLES: dict[str, Any] = {"checkpoint": Path("best_ckpt.pt"), "data": Path("data.yaml")}

EXAMPLE = Recipe(
    checkpoint=_EXAMPLES["checkpoint"],
    size=(640, 640),
    calibration=Calibration(data=_EXAMPLES["data"]),
)
"""The recipe that the text stands for."""

_HEAD = """\
# Every choice of a run, with its default: detq run RECIPE.yaml --output DIR takes it. A recipe
# needs checkpoint, size and calibration.data; what it leaves out is as it stands here.
# A # without a space behind it holds back another choice: take it away, and what it replaces.
"""


def explained_recipe() -> str:
    """YAML that ``read_recipe`` reads as ``EXAMPLE``, with a comment on every field."""
    return _HEAD + "".join(f"{line}\n" for line in _fields(EXAMPLE, gap=True))


def _fields(section: Struct, *, gap: bool = False) -> Iterator[str]:
    """The lines of a section's fields."""
    kind = inspect.type_info(type(section))
    assert isinstance(kind, inspect.StructType)
    told = meanings(type(section))
    if kind.tag_field:
        yield f"{kind.tag_field}: {kind.tag}"
    for field in kind.fields:
        if gap:
            yield ""
        yield from _comment(_meaning(told[field.name], field.type))
        yield from _entry(field, getattr(section, field.name))


def _entry(field: inspect.Field, value: Any) -> Iterator[str]:
    """A field with its value, and behind # the sections that may stand there instead."""
    listed = isinstance(field.type, inspect.VarTupleType)
    shown = [one for one in (value if listed else [value]) if isinstance(one, Struct)]
    if shown:
        yield f"{field.name}:"
        for one in shown:
            yield from _section(one, listed=listed)
    else:
        line = strict_yaml.dump({field.name: to_builtins(value, enc_hook=str)}).rstrip()
        yield line[1:-1] if line.startswith("{") else line
    for kind in structs_in(field.type):
        if kind.cls not in map(type, shown):
            yield f"#{field.name}:"
            yield from (f"#{line}" for line in _section(_with_defaults(kind), listed=listed))


def _section(section: Struct, *, listed: bool) -> Iterator[str]:
    yield from (f"  {line}" for line in _comment(purpose(type(section))))
    for index, line in enumerate(_fields(section)):
        first = "- " if index == 0 else "  "
        yield f"  {first if listed else ''}{line}"


def _with_defaults(kind: inspect.StructType) -> Struct:
    missing = {field.name: _EXAMPLES[field.name] for field in kind.fields if field.required}
    made: Struct = kind.cls(**missing)
    return made


def _meaning(text: str, kind: inspect.Type) -> str:
    """What a field means, and the choices that the text does not name."""
    choices = choices_in(kind)
    named = all(f"`{choice}`" in text for choice in choices)
    return text if named else f"{text.rstrip('.')} ({', '.join(choices)})"


def _comment(text: str) -> Sequence[str]:
    sentence = text[:1].upper() + text[1:].rstrip(".") + "."
    return [f"# {line}" for line in wrap(sentence, WIDTH - 2, break_on_hyphens=False)]
