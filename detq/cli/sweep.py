"""``detq sweep``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from detq.cli.arguments import Count
from detq.cli.output import Output, print_table
from detq.errors import InputError

if TYPE_CHECKING:
    from detq.tasks.drive import Event

RESULT = "sweep.json"


def sweep(
    grid: Path,
    /,
    *,
    output: Path,
    ray: str | None = None,
    jobs: Count | None = None,
    shards: Count = 1,
    out: Output = Output(),  # noqa: B008 - frozen
) -> int:
    """Run a grid of recipes and checkpoints, in processes here or on a Ray cluster.

    Each cell is a run folder. Tasks whose worker is lost are started again, finished cells are
    never done again. Ends with 1 if a cell failed.

    Example: detq sweep grid.yaml --output sweep --shards 4 --ray auto

    Args:
        grid: YAML file: a base recipe, changes to it by name, checkpoints by name.
        output: Folder of the cells, which all machines see; the same one goes on with what is
            missing.
        ray: Address of a Ray cluster, auto for the one this machine belongs to, local for a new
            one; processes of this machine if not given.
        jobs: Most cells at a time; as many as there are cores if not given.
        shards: Parts in which the images of a cell are looked at and scored.
        out: How the result is told.
    """
    from detq.cli.cells import cell_keys, known_cell, run_cell
    from detq.cli.live import LiveTable
    from detq.cli.parts import workers_at
    from detq.grid import read_grid
    from detq.tasks.drive import do_all
    from detq.tasks.task import Task
    from detq.whole_file import written_whole

    if not grid.is_file():
        raise InputError("no such grid", where=str(grid), hint="give a YAML file")
    output = output.resolve()
    cells = read_grid(grid)
    keys = cell_keys(cells)
    results = {name: known for name in cells if (known := known_cell(output / name, keys[name]))}
    todo = [name for name in cells if name not in results]
    shared = {"shards": shards, "ray": ray}
    tasks = [
        Task(
            name,
            run_cell,
            {**shared, "recipe": cells[name], "output": output / name, "key": keys[name]},
            waits=shards > 1,
        )
        for name in todo
    ]
    with LiveTable(cells, results, out) as table, workers_at(ray) as workers:

        def tell(event: "Event") -> None:
            if event.state == "done":
                results[event.task] = known_cell(output / event.task, keys[event.task]) or {}
            table.tell(event, results)

        at_once = jobs or workers.cores
        ended = do_all(tasks, workers, at_once=at_once, on_event=tell, keep_going=True)
    failed = {
        name: str(error)
        for name, error in zip(todo, ended, strict=True)
        if isinstance(error, Exception)
    }
    figures = {name: results.get(name) or {"failed": failed[name]} for name in cells}
    with written_whole(output / RESULT) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1))
    kept = len(cells) - len(todo)
    out.tell({"cells": figures, "kept": kept}, lambda: show_cells(figures, kept))
    return 1 if failed else 0


def show_cells(figures: Mapping[str, Any], kept: int) -> None:
    """One line per cell and engine."""
    rows = []
    for name, one in figures.items():
        if "failed" in one:
            rows.append([name, "failed", "", "", one["failed"]])
        for place, found in one.get("accuracy", {}).items():
            rows.append([name, place, f"{found['AP']:.4f}", f"{found['AP50']:.4f}", ""])
        if not one.get("accuracy") and "failed" not in one:
            rows.append([name, "done", "", "", ""])
    print_table("", ["cell", "model, engine", "AP", "AP50", ""], rows, words=["model, engine", ""])
    if kept:
        print(f"kept from before: {kept} of {len(figures)} cells")
