from pathlib import Path
from typing import Any

import pytest

from detq.errors import RecipeError
from detq.recipe import Abc, BiasCorrection, LearnMethod, QPRep, learner_named
from detq.recipe_file import read_recipe, recipe_as_yaml

LEAST = "checkpoint: a.pt\nsize: 320\ncalibration: {data: images}\n"


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "r.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{method: qprep}", (QPRep(),)),
        ("[{method: bias_correction, images: 8}]", (BiasCorrection(images=8),)),
        (
            "[{method: qprep}, {method: abc, rounding: true, steps: 3, tail: quantized}]",
            (QPRep(), Abc(rounding=True, steps=3, tail="quantized")),
        ),
        ("[]", ()),
    ],
)
def test_one_learner_or_several(written: Any, text: str, wanted: tuple[LearnMethod, ...]) -> None:
    recipe = read_recipe(written(f"{LEAST}learn: {text}\n"))
    assert recipe.learn == wanted
    assert read_recipe(written(recipe_as_yaml(recipe))) == recipe


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{method: ab}", "$.learn[0].method: Invalid value 'ab' (did you mean `abc`?)"),
        (
            "[{method: qprep}, {method: abc, step: 3}]",
            "$.learn[1]: Object contains unknown field `step` (did you mean `steps`?)",
        ),
        (
            "{method: qprep, steps: 3}",
            "$.learn[0]: Object contains unknown field `steps` (one of method, images, ",
        ),
        (
            "{method: abc, metric: mad}",
            "$.learn[0].metric: Invalid enum value 'mad' (did you mean `mae`?)",
        ),
        ("{method: abc, steps: 0}", "$.learn[0].steps: Expected `int` >= 1"),
        ("abc", "$.learn: Expected `array`, got `str`"),
    ],
)
def test_a_slip_is_told_with_its_place(written: Any, line: str, message: str) -> None:
    path = written(f"{LEAST}learn: {line}\n")
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_by_name_with_defaults() -> None:
    assert learner_named("abc") == Abc()
