import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from detq.errors import RecipeError
from detq.recipe import Recipe
from detq.recipe_explained import EXAMPLE, WIDTH, explained_recipe
from detq.recipe_fields import meanings, sections
from detq.recipe_file import read_recipe

TEXT = explained_recipe()
TARGETS = "targets: [plain, onnxruntime, openvino]"


def read(text: str, folder: Path) -> Recipe:
    (folder / "r.yaml").write_text(text, encoding="utf-8")
    return read_recipe(folder / "r.yaml")


def choices() -> Iterator[tuple[str, str]]:
    """Field and its other forms, each with the text in which it stands in for the default."""
    lines = TEXT.splitlines()
    for start, line in enumerate(lines):
        held = re.match(r"#(\w+):", line)
        if not held:
            continue
        stop = start + 1
        while stop < len(lines) and lines[stop].startswith("#  "):
            stop += 1
        block = [text[1:] for text in lines[start:stop]]
        text = "\n".join([*without(held[1], lines), *block]) + "\n"
        simulated = "targets: [plain]" if held[1] == "repquant" else TARGETS
        yield held[1], text.replace(TARGETS, simulated)


def without(field: str, lines: list[str]) -> list[str]:
    first = next(n for n, line in enumerate(lines) if line.startswith(f"{field}:"))
    rest = lines[first + 1 :]
    last = next((n for n, line in enumerate(rest) if not line.startswith("  ")), len(rest))
    return lines[:first] + rest[last:]


def test_it_is_the_default_recipe(tmp_path: Path) -> None:
    assert read(TEXT, tmp_path) == EXAMPLE
    assert Recipe(
        checkpoint=EXAMPLE.checkpoint, size=EXAMPLE.size, calibration=EXAMPLE.calibration
    ) == EXAMPLE  # fmt: skip


def test_what_is_held_back_is_a_recipe_too(tmp_path: Path) -> None:
    seen = []
    for field, text in choices():
        found = getattr(read(text, tmp_path), field)
        assert found != getattr(EXAMPLE, field)
        seen += [type(one) for one in (found if isinstance(found, tuple) else [found])]
    shown = {type(getattr(EXAMPLE, name)) for name in Recipe.__struct_fields__}
    shown |= {type(one) for one in EXAMPLE.learn} | {Recipe}
    assert set(sections().values()) - shown == set(seen)


def test_a_slip_in_it_is_seen(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="least_gain_db"):
        read(TEXT.replace("least_gain_db: 1.0", "least_gain: 1.0"), tmp_path)


def test_every_meaning_is_there() -> None:
    told = " ".join(TEXT.replace("#", " ").split()).lower()
    for section in sections().values():
        for meaning in meanings(section).values():
            assert meaning.rstrip(".").lower() in told


def test_lines_are_short() -> None:
    assert max(map(len, TEXT.splitlines())) <= WIDTH + 6  # what a comment is indented by
