"""``detq run``."""

from pathlib import Path

import msgspec

from detq.cli.arguments import AnySize, Count, Seed
from detq.cli.chain import run_recipe, show_result
from detq.cli.output import Output
from detq.errors import InputError


def run(
    recipe: Path,
    /,
    *,
    output: Path,
    size: AnySize = None,
    count: Count | None = None,
    seed: Seed | None = None,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Do everything a recipe says, from checkpoint to figures; go on where a run was stopped.

    Example: detq run configs/yolov6n_person.yaml --output runs/person

    Example: detq run recipe.yaml --output runs/more --count 256

    Args:
        recipe: YAML file with every choice.
        output: Run folder; the same folder goes on with what is missing.
        size: Input size in pixels, 640 or 384x640, instead of the recipe's.
        count: Number of calibration images, instead of the recipe's.
        seed: Seed of the draw of calibration images, instead of the recipe's.
        out: How the result is told.
    """
    from detq.recipe_file import changed_recipe, read_recipe, resolve_paths

    if not recipe.is_file():
        raise InputError(
            "no such recipe",
            where=str(recipe),
            hint="write one: detq config --explain > recipe.yaml",
        )
    read = read_recipe(recipe)
    drawn = {key: value for key, value in (("count", count), ("seed", seed)) if value is not None}
    changed = changed_recipe(
        read,
        str(recipe) if size is None else f"{recipe} with --size",
        size=size or read.size,
        calibration=msgspec.structs.replace(read.calibration, **drawn),
    )
    resolved = resolve_paths(changed, recipe.parent, where=str(recipe))
    result = run_recipe(resolved, output, out)
    out.tell(result, lambda: show_result(result, output))
