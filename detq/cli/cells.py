"""One cell of a sweep, on whatever worker it is done."""

from pathlib import Path
from typing import Any

import msgspec

from detq.cli.output import Output
from detq.recipe import Recipe
from detq.recipe_file import recipe_as_json
from detq.run_dir import file_hash, key_of
from detq.versions import versions

DONE = "done.json"


def cell_key(recipe: Recipe) -> str:
    """What a finished cell was made from: recipe, content of the checkpoint, versions.

    Raises:
        InputError: the checkpoint cannot be read.
    """
    return key_of([recipe_as_json(recipe), file_hash(recipe.checkpoint), versions()])


def known_cell(folder: Path, key: str) -> dict[str, Any] | None:
    """Figures of a cell that was finished before from the same recipe."""
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
        key: of the cell, from ``cell_key``, for the record.
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
