"""``detq demo``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detq.cli.arguments import Count
from detq.cli.chain import run_recipe
from detq.cli.output import Output, number_of, print_table
from detq.cli.sources import require_torch
from detq.errors import TargetUnavailableError

if TYPE_CHECKING:
    from detq.recipe import Recipe
    from detq_eval.demo_set.files import DemoSet

ENGINES = ("openvino", "onnxruntime")
TENSORRT = "trt-rtx"  # what NVIDIA's builder without a GPU takes
MINMAX, DEFAULT = "minmax", "default"  # the runs, and their folders
ROUNDS = 5  # of timing: enough to see the order of things


def demo(
    *,
    output: Path,
    pictures: Count = 300,
    calibration: Count = 64,
    threads: Count | None = None,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """See everything work on this machine: no checkpoint, no data and no GPU are needed.

    Draws pictures of shapes, makes INT8 of a small YOLOv6 that was trained to find them, once
    with plain min-max ranges and once with the defaults, and scores float and INT8 on the
    engines that are installed. Where NVIDIA's TensorRT-RTX is installed, it compiles the file.

    Example: detq demo --output demo

    Args:
        output: Folder to write to; the same folder goes on with what is missing.
        pictures: Number of pictures to score on.
        calibration: Number of pictures to calibrate with.
        threads: Threads of the engines; the usable cores if not given.
        out: How the result is told.
    """
    from detq_eval.demo_set.files import write_demo_set

    require_torch()
    engines = _engines_here()
    folder = output.absolute()
    with out.progress("draw the pictures", pictures + calibration) as on_picture:
        drawn = write_demo_set(folder / "pictures", pictures, calibration, on_picture)
    runs = {}
    for name, recipe in _recipes(drawn, calibration, engines, threads).items():
        out.note(f"{name} recipe")
        runs[name] = run_recipe(recipe, folder / name, out)
    figures = {
        "pictures": pictures,
        "accuracy": {engine: _accuracy(runs, engine) for engine in engines},
        "speed": runs[DEFAULT]["speed"],
        "tensorrt": _tensorrt(folder / DEFAULT / runs[DEFAULT]["files"][TENSORRT]),
        "report": str(output / DEFAULT / "report.html"),
        "runs": {name: str(output / name) for name in runs},
    }
    out.tell(figures, lambda: _show(figures))


def _engines_here() -> list[str]:
    from detq.versions import versions

    found = [name for name in ENGINES if name in versions()]
    if not found:
        raise TargetUnavailableError("no engine is installed", hint="pip install 'detq[cpu]'")
    return found


def _recipes(
    drawn: "DemoSet", count: int, engines: Sequence[str], threads: int | None
) -> Mapping[str, "Recipe"]:
    from msgspec.structs import replace

    from detq.recipe import Bench, Calibration, Evaluation, MinMax, Recipe
    from detq_eval.demo_set.files import DETECTOR, SIDE

    recipe = Recipe(
        checkpoint=DETECTOR,
        size=(SIDE, SIDE),
        calibration=Calibration(data=drawn.calibration, count=count),
        targets=("plain", *engines, TENSORRT),
        evaluation=Evaluation(data=drawn.evaluation, backends=tuple(engines), threads=threads),
        batch=1,
    )
    return {
        MINMAX: replace(recipe, channel_wise=None, range=MinMax(), learn=()),
        DEFAULT: replace(recipe, bench=Bench(backend=engines[0], rounds=ROUNDS, threads=threads)),
    }


def _accuracy(runs: Mapping[str, Mapping[str, Any]], engine: str) -> dict[str, Any]:
    """AP of the float model and of both INT8 models on one engine, 0 to 1."""
    scored = {name: run["accuracy"] for name, run in runs.items()}
    made = scored[DEFAULT][f"{engine} {engine}"]
    return {
        "engine": made["engine"],
        "isa": made["isa"],
        "float": scored[DEFAULT][f"float {engine}"]["AP"],
        **{name: accuracy[f"{engine} {engine}"]["AP"] for name, accuracy in scored.items()},
    }


def _tensorrt(file: Path) -> dict[str, Any]:
    """What NVIDIA's builder makes of a file, or why it was not asked."""
    from detq_deploy.lint import lint_file
    from detq_deploy.nvidia.audit import audit
    from detq_deploy.targets import target_named

    try:
        found = audit(file, lint_file(file, target_named(TENSORRT)))
    except TargetUnavailableError as error:
        return {"built": False, "why": str(error)}
    return {
        "built": bool(found.layers),
        "why": "" if found.layers else found.findings[0].what,
        "builder": f"TensorRT-RTX {found.version} for {found.arch}",
        "int8_layers": sum(bool(layer.compiled) for layer in found.layers),
        "layers": len(found.layers),
        "plan_bytes": found.plan_bytes,
    }


def _show(figures: Mapping[str, Any]) -> None:
    rows = [
        [
            found["engine"],
            *(f"{found[name]:.4f}" for name in ("float", MINMAX, DEFAULT)),
            f"{found[DEFAULT] - found['float']:+.4f}",
        ]
        for found in figures["accuracy"].values()
    ]
    isa = next(iter(figures["accuracy"].values()))["isa"]
    title = f"AP on {number_of(figures['pictures'], 'drawn picture')}, 0 to 1 ({isa})"
    columns = ["engine", "float", "INT8, plain min-max", "INT8, default", "default less float"]
    print_table(title, columns, rows)
    print(f"TensorRT: {_compiled(figures['tensorrt'])}")
    print(f"report: {figures['report']}")


def _compiled(found: Mapping[str, Any]) -> str:
    if not found["built"]:
        return f"not built, {found['why']}"
    layers = f"{found['int8_layers']} of {found['layers']} layers INT8"
    return f"built by {found['builder']}, {layers}, {found['plan_bytes'] / 1e6:.1f} MB"
