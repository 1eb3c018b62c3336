"""A recipe's JSON schema, for editors and other programs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from detq.recipe import Recipe
from detq.recipe_fields import meanings, purpose, sections

DRAFT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def recipe_schema(names: Mapping[str, Sequence[str]]) -> Schema:
    """JSON schema (draft 2020-12) of what ``read_recipe`` takes.

    Rules between two fields, such as fewer than 8 bits for ``targets: [plain]`` alone, are not
    in it; reading the recipe checks them.

    Args:
        names: known words of fields whose types take any text, such as ``Recipe.targets``.
    """
    schema: Schema = msgspec.json.schema(Recipe, schema_hook=_path)
    for title, section in sections().items():
        found = schema["$defs"][title]
        found["description"] = purpose(section)
        for name, meaning in meanings(section).items():
            found["properties"][name]["description"] = meaning
    for place, words in names.items():
        title, _, name = place.partition(".")
        field = schema["$defs"][title]["properties"][name]
        field.get("items", field)["enum"] = list(words)
    _shorter_forms(schema["$defs"]["Recipe"]["properties"])
    return {"$schema": DRAFT, "title": "A recipe of detq", **schema}


def _shorter_forms(fields: Schema) -> None:
    """What ``read_recipe`` takes besides: one side, no method, one learner without a list."""
    side = fields["size"]["prefixItems"][0]
    fields["size"] = _either(fields["size"], side)
    fields["range"]["anyOf"].append({"type": "object", "maxProperties": 0})
    fields["learn"] = _either(fields["learn"], fields["learn"]["items"])


def _either(field: Schema, other: Schema) -> Schema:
    about: Schema = {key: field.pop(key) for key in ("description", "default") if key in field}
    return {"anyOf": [field, other], **about}


def _path(kind: type) -> Schema:
    assert kind is Path, f"no schema for {kind}"
    return {"type": "string", "minLength": 1}
