"""One cell of a sweep, on whatever worker it is done."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from detq.cli.output import Output
from detq.recipe import Calibration, Evaluation, Recipe
from detq.recipe_file import recipe_as_json
from detq.run_dir import file_hash, key_of
from detq.versions import versions

DONE = "done.json"


def cell_keys(cells: Mapping[str, Recipe]) -> dict[str, str]:
    """Name of each cell → what it is made from: recipe, content of all files it reads, versions.

    Raises:
        DetqError: a checkpoint, an image or the ground truth is missing or cannot be read.
    """
    # Cells have most of their files in common; each is read once.
    checkpoint, drawn, truth = cache(file_hash), cache(_drawn), cache(_truth)

    def key(recipe: Recipe) -> str:
        options = recipe.evaluation
        data = [drawn(recipe.calibration), options and truth(options.data, options.images)]
        return key_of([recipe_as_json(recipe), checkpoint(recipe.checkpoint), data, versions()])

    return {name: key(recipe) for name, recipe in cells.items()}


def _drawn(options: Calibration) -> str:
    from detq.calibration import drawn_images
    from detq.pipeline.make import drawn_key

    return drawn_key(drawn_images(options))


def _truth(data: Path, images: Path | None) -> dict[str, object]:
    from detq.cli.scoring import truth_files
    from detq.data.images import list_images
    from detq.pipeline.measure import truth_inputs

    refs = list_images(data, images, split="val")
    return truth_inputs(truth_files(Evaluation(data=data, images=images)), refs)


def known_cell(folder: Path, key: str) -> dict[str, Any] | None:
    """Figures of a cell that was finished before from the same things."""
    try:
        found = msgspec.json.decode((folder / DONE).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return None
    figures: dict[str, Any] | None = found["figures"] if found.get("key") == key else None
    return figures


def run_cell(recipe: Recipe, output: Path, key: str, shards: int, ray: str | None) -> None:
    """Run a recipe in a folder of its own, and leave a record that it is done; the task.

    Args:
        recipe: with absolute paths.
        output: run folder; a lost worker's goes on where it was.
        key: of the cell, from ``cell_keys``, for the record.
        shards: parts of its images; 1 does all of it in this process.
        ray: address of the cluster for the parts; processes of this machine if None.
    """
    from detq.cli.chain import run_recipe
    from detq.cli.parts import Parts
    from detq.whole_file import written_whole

    parts = Parts(shards, ray) if shards > 1 else None
    result = run_recipe(recipe, output, Output(quiet=True), parts)
    record = {"key": key, "figures": _short(result)}
    with written_whole(output / DONE) as temporary:
        temporary.write_bytes(msgspec.json.encode(record, enc_hook=str))


def _short(result: dict[str, Any]) -> dict[str, Any]:
    """The figures that stand in a table."""
    accuracy = {
        key: {name: found[name] for name in ("AP", "AP50")}
        | ({"agreement": found["agreement"]["ap"]} if "agreement" in found else {})
        for key, found in result["accuracy"].items()
    }
    timings = result["speed"].get("timings", {}) if result["speed"] else {}
    speed = {label: timing["wall_ms"]["median"] for label, timing in timings.items()}
    return {"accuracy": accuracy, "latency_ms": speed}
