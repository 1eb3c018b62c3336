"""The pipeline with everything plugged in: adapter, engines, evaluation, progress."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from detq.cli.arguments import Output, print_table
from detq.cli.scoring import score_file
from detq.cli.sources import read_source
from detq.errors import InputError
from detq.recipe import Bench, Evaluation, Recipe


def run_recipe(recipe: Recipe, output: Path, out: Output) -> dict[str, Any]:
    """Run a recipe with absolute paths in a run folder.

    Returns:
        The content of ``metrics.json``.
    """
    from detq import pipeline
    from detq.run_dir import RunDir
    from detq_deploy.backends import BACKENDS
    from detq_deploy.targets import TARGETS, target_named

    _check_names("targets", recipe.targets, TARGETS)
    if recipe.evaluation is not None:
        _check_names("evaluation.backends", recipe.evaluation.backends, BACKENDS)

    def evaluate(file: Path, backend: str, options: Evaluation, boxes: Path) -> dict[str, Any]:
        return score_file(file, backend, options, out, boxes)

    def bench(files: Mapping[str, Path], options: Bench) -> dict[str, Any]:
        return _bench(files, options, out)

    tools = pipeline.Tools(read_source, target_named, evaluate, bench, out.progress)
    with RunDir(output) as folder:
        return pipeline.run(recipe, folder, tools)


def _check_names(field: str, names: tuple[str, ...], known: Mapping[str, object]) -> None:
    """Before the first step, so that a misspelt last one costs nothing."""
    for name in names:
        if name not in known:
            raise InputError(
                f"{name!r} is not known", where=f"$.{field}", hint=f"one of {', '.join(known)}"
            )


def _bench(files: Mapping[str, Path], options: Bench, out: Output) -> dict[str, Any]:
    from detq_deploy.bench import Contender, bench

    contenders = [Contender(path, options.backend, options.threads) for path in files.values()]
    with out.progress("time", options.rounds) as on_round:
        found = bench(contenders, rounds=options.rounds, on_round=on_round)
    timings = dict(zip(files, msgspec.to_builtins(found.timings), strict=True))
    return {"isa": found.isa, "cpu": found.cpu.model, "rounds": found.rounds, "timings": timings}


def show_result(result: dict[str, Any], output: Path) -> None:
    """Tables for a person."""
    if result["accuracy"]:
        _show_accuracy(result["accuracy"])
    if result["speed"]:
        _show_speed(result["speed"])
    for warning in result["warnings"]:
        print(f"warning: {warning}")
    print("\n".join(f"{name}: {output / file}" for name, file in result["files"].items()))


def _show_accuracy(accuracy: Mapping[str, Any]) -> None:
    columns = ["model engine", "AP", "drop", "AP50", "AP75", "images/s"]
    rows = []
    for key, found in accuracy.items():
        backend = key.split(" ")[1]
        ap, base = found["AP"], accuracy.get(f"float {backend}")
        drop = "" if base is None or key.startswith("float ") else f"{base['AP'] - ap:+.4f}"
        others = [f"{found[name]:.4f}" for name in ("AP50", "AP75")]
        rows.append([key, f"{ap:.4f}", drop, *others, f"{found['images_per_second']:.1f}"])
    print_table("", columns, rows)


def _show_speed(speed: Mapping[str, Any]) -> None:
    rows = [
        [
            f"{label} {timing['backend']}",
            f"{timing['wall_ms']['median']:.2f}",
            f"{timing['speedup']['median']:.2f}",
            f"{timing['speedup']['p10']:.2f} … {timing['speedup']['p90']:.2f}",
        ]
        for label, timing in speed["timings"].items()
    ]
    print_table(
        f"{speed['cpu']} ({speed['isa']})",
        ["model engine", "ms per image", "speed-up", "10 % … 90 %"],
        rows,
    )
