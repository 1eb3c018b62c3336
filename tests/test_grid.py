from pathlib import Path

import pytest

from detq.errors import RecipeError
from detq.grid import read_grid
from detq.recipe import Mse, QPRep

BASE = """
checkpoint: base.pt
size: 64
calibration: {data: images, count: 8}
range: {method: percentile, percent: 99}
learn: []
"""


def grid(folder: Path, text: str) -> Path:
    (folder / "recipes").mkdir()
    (folder / "recipes" / "base.yaml").write_text(BASE)
    path = folder / "grid.yaml"
    path.write_text("base: recipes/base.yaml\n" + text)
    return path


def test_every_recipe_with_every_checkpoint(tmp_path: Path) -> None:
    text = """
checkpoints: {n: n.pt, s: models/s.pt}
recipes:
  start: {}
  mse: {range: {method: mse}, calibration: {count: 4}, learn: {method: qprep}}
"""
    cells = read_grid(grid(tmp_path, text))
    assert list(cells) == ["n.start", "s.start", "n.mse", "s.mse"]
    assert cells["s.mse"].checkpoint == tmp_path / "models/s.pt"
    assert cells["n.start"].calibration == cells["s.start"].calibration
    changed = cells["n.mse"]
    assert (changed.range, changed.learn) == (Mse(), (QPRep(),))
    # A section keeps what is not replaced, with the paths of the base's folder.
    assert changed.calibration.count == 4
    assert changed.calibration.data == tmp_path / "recipes/images"


def test_the_base_alone_is_a_grid(tmp_path: Path) -> None:
    cells = read_grid(grid(tmp_path, ""))
    assert list(cells) == ["base"]
    assert cells["base"].checkpoint == tmp_path / "recipes/base.pt"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("recipe: {}", "$: ", "unknown field `recipe` (did you mean `recipes`?)"),
        ("recipes: [a]", "$.recipes: ", "Expected `object`"),
        ("recipes: {a: {rnage: {}}}", "$.recipes.a: ", "unknown field `rnage`"),
        ("recipes: {a: {range: {method: msee}}}", "$.recipes.a.range.method: ", "'msee'"),
        ("recipes: {a: {calibration: {counts: 3}}}", "$.recipes.a.calibration: ", "`counts`"),
        ("recipes: {a b: {}, a/b: {}}", "$.recipes.a/b: ", "two cells would be called 'a_b'"),
    ],
)
def test_a_slip_is_told_with_its_place(tmp_path: Path, text: str, place: str, words: str) -> None:
    path = grid(tmp_path, text)
    with pytest.raises(RecipeError) as caught:
        read_grid(path)
    assert str(caught.value).startswith(f"{path}: {place}"), str(caught.value)
    assert words in str(caught.value)


def test_a_base_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("base: nowhere.yaml")
    with pytest.raises(RecipeError, match=r"\$\.base: no such recipe: nowhere\.yaml"):
        read_grid(path)
