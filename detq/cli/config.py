"""``detq config``."""

from pathlib import Path
from typing import get_args

from detq.cli.arguments import Backend, Flag, TargetName
from detq.cli.chain import require_known
from detq.cli.output import Output
from detq.errors import InputError

# Words that the types of a recipe cannot know.
NAMES = {
    "Recipe.targets": get_args(TargetName),
    "Evaluation.backends": get_args(Backend),
    "Bench.backend": get_args(Backend),
}


def config(
    recipe: Path | None = None,
    /,
    *,
    schema: Flag = False,
    explain: Flag = False,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Check a recipe and show it with every default, or say what may stand in one.

    Example: detq config recipe.yaml

    Example: detq config --explain > recipe.yaml

    Example: detq config --schema > recipe.schema.json

    Args:
        recipe: YAML file to check and to show with every default spelt out.
        schema: Show the JSON schema of a recipe, for editors.
        explain: Show a recipe with every default and what it means.
        out: How the result is told.
    """
    from detq.recipe_explained import EXAMPLE, explained_recipe
    from detq.recipe_file import read_recipe, recipe_as_yaml
    from detq.recipe_schema import recipe_schema

    if [recipe is not None, schema, explain].count(True) != 1:
        raise InputError(
            "nothing to show, or too much", hint="give one of: a recipe, --schema, --explain"
        )
    if schema:
        Output(json=True).tell(recipe_schema(NAMES), lambda: None)
        return
    shown = EXAMPLE if recipe is None else read_recipe(recipe)
    require_known(shown)
    text = explained_recipe() if recipe is None else recipe_as_yaml(shown)
    out.tell(shown, lambda: print(text, end=""))
