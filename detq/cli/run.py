"""``detq run``."""

from pathlib import Path

import msgspec

from detq.cli.arguments import Output
from detq.cli.chain import run_recipe, show_result
from detq.errors import InputError


def run(
    recipe: Path,
    /,
    *,
    output: Path,
    size: int | None = None,
    count: int | None = None,
    seed: int | None = None,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Do everything a recipe says, from checkpoint to result; go on where a run was stopped.

    Example: detq run configs/yolov6n_person.yaml --output runs/person

    Args:
        recipe: YAML file with every choice.
        output: Run folder; the same folder goes on with what is missing.
        size: Input size in pixels, instead of the recipe's.
        count: Number of calibration images, instead of the recipe's.
        seed: Seed of the draw of calibration images, instead of the recipe's.
        out: How the result is told.
    """
    from detq.recipe import read_recipe, resolve_paths

    if not recipe.is_file():
        raise InputError("no such recipe", where=str(recipe), hint="see configs/ for examples")
    read = read_recipe(recipe)
    calibration = {"count": count, "seed": seed}
    changed = msgspec.structs.replace(
        read,
        size=read.size if size is None else (size, size),
        calibration=msgspec.structs.replace(
            read.calibration, **{k: v for k, v in calibration.items() if v is not None}
        ),
    )
    resolved = resolve_paths(changed, recipe.parent, where=str(recipe))
    result = run_recipe(resolved, output, out)
    out.tell(result, lambda: show_result(result, output))
