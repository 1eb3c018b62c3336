"""The pipeline with everything plugged in: adapter, engines, evaluation, progress."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from detq.cli.output import Output, number_of, print_table
from detq.cli.scoring import read_truth, score_file, show_agreement, truth_files
from detq.cli.sources import read_source, require_torch
from detq.errors import InputError, RecipeError, remedy_for_name
from detq.recipe import Bench, Evaluation, Recipe

if TYPE_CHECKING:
    from detq.cli.parts import Parts
    from detq.model import FloatModel
    from detq.pipeline.tools import Tools
    from detq_eval.report.gallery import Gallery


def run_recipe(
    recipe: Recipe, output: Path, out: Output, parts: "Parts | None" = None
) -> dict[str, Any]:
    """Run a recipe with absolute paths in a run folder.

    Args:
        recipe: with absolute paths.
        output: run folder.
        out: is told how far things are.
        parts: where images are looked at and scored in parts; here in one go if None.

    Returns:
        The content of ``metrics.json``; ``steps`` are all steps, ``reused`` those of them that
        were done before.

    Raises:
        InputError: the source is an ONNX file in the run folder itself.
    """
    from detq import pipeline
    from detq.run_dir import RunDir

    check_recipe(recipe)
    source = recipe.checkpoint
    if source.suffix == ".onnx" and source.resolve().parent == output.resolve():
        raise InputError(  # a run writes float.onnx, source.onnx, model.*.onnx …
            "lies in the run folder, where it might be overwritten",
            where=str(source),
            hint="give another --output",
        )
    tools = tools_for(recipe, out)
    if parts is not None:
        tools = parts.tools(tools, output, out)
    with RunDir(output) as folder:
        outcome = pipeline.run(recipe, folder, tools)
    return {
        **outcome.figures,
        "steps": [step.name for step in outcome.steps],
        "reused": [step.name for step in outcome.steps if step.reused],
    }


def check_recipe(recipe: Recipe) -> None:
    """Before the first step, so that a misspelt or missing last one costs nothing.

    Raises:
        DetqError: a name is not known, a program not installed, or a file not there.
    """
    require_known(recipe)
    _require_installed(recipe)
    _require_heads(recipe)
    _require_present(recipe)


def tools_for(recipe: Recipe, out: Output) -> "Tools":
    """Everything that the pipeline is handed."""
    from detq import pipeline
    from detq_deploy.targets import target_named
    from detq_eval.report.page import report_html

    def read(path: Path, size: tuple[int, int]) -> "FloatModel":
        require_torch()
        return read_source(path, size, layout=recipe.layout, names=recipe.names)

    def evaluate(
        file: Path, backend: str, options: Evaluation, boxes: Path, reference: Path | None
    ) -> dict[str, Any]:
        return score_file(file, backend, options, out, boxes, reference)

    def bench(files: Mapping[str, Path], options: Bench) -> dict[str, Any]:
        return _bench(files, options, out)

    return pipeline.Tools(
        read_source=read,
        target_named=target_named,
        engine_here=_engine_here,
        truth_files=truth_files,
        read_truth=read_truth,
        evaluate=evaluate,
        bench=bench,
        gallery=_gallery,
        report=report_html,
        note=out.note,
        progress=out.progress,
    )


def require_known(recipe: Recipe) -> None:
    """Check that there are such targets and engines.

    Raises:
        RecipeError: a name is misspelt.
    """
    from detq_deploy.backends import BACKENDS
    from detq_deploy.targets import TARGETS

    _require_names("targets", recipe.targets, TARGETS)
    if recipe.evaluation is not None:
        _require_names("evaluation.backends", recipe.evaluation.backends, BACKENDS)
    if recipe.bench is not None:
        _require_names("bench.backend", [recipe.bench.backend], BACKENDS)


def _require_heads(recipe: Recipe) -> None:
    from detq.dialects.heads import check_heads, heads_from
    from detq.target import PLAIN
    from detq_deploy.targets import target_named

    if recipe.head is None:
        return
    heads = heads_from(recipe.head)
    for name in recipe.targets:
        if name != PLAIN.name:
            check_heads(heads, nms=target_named(name).nms, where=name)


def _require_present(recipe: Recipe) -> None:
    from detq.data.images import list_images

    if not recipe.checkpoint.is_file():
        raise InputError(
            "no such file", where=str(recipe.checkpoint), hint="give the path of a checkpoint"
        )
    list_images(recipe.calibration.data, recipe.calibration.images, split="train")
    if recipe.evaluation is not None:
        list_images(recipe.evaluation.data, recipe.evaluation.images, split="val")


def _require_names(field: str, names: Sequence[str], known: Mapping[str, object]) -> None:
    for name in names:
        if name not in known:
            hint = remedy_for_name(name, known)
            raise RecipeError(f"{name!r} is not known", where=f"$.{field}", hint=hint)


def _require_installed(recipe: Recipe) -> None:
    from detq.versions import versions
    from detq_deploy.backends import BACKENDS
    from detq_deploy.engines import import_engine

    engines = {"torch", *(name for name in recipe.targets if name in BACKENDS)}
    engines |= set(recipe.evaluation.backends) if recipe.evaluation else set()
    engines |= {recipe.bench.backend} if recipe.bench else set()
    for name in engines - set(versions()):
        import_engine(name)  # says what to install


def _engine_here(name: str) -> str:
    from detq.versions import versions
    from detq_deploy.cpu import cpu_features

    version = versions().get(name)
    cpu = cpu_features()
    return f"{name} {version} on {cpu.model}, {cpu.isa_label}" if version else name


def _bench(files: Mapping[str, Path], options: Bench, out: Output) -> dict[str, Any]:
    from detq_deploy.bench import Contender, bench

    contenders = [Contender(path, options.backend, options.threads) for path in files.values()]
    with out.progress("time", options.rounds) as on_round:
        found = bench(contenders, rounds=options.rounds, on_round=on_round)
    timings = dict(zip(files, msgspec.to_builtins(found.timings), strict=True))
    return {"isa": found.isa, "cpu": found.cpu.model, "rounds": found.rounds, "timings": timings}


def _gallery(
    options: Evaluation, wanted: Path, got: Path, names: Mapping[int, str], of: tuple[str, str]
) -> "Gallery":
    from detq.data.images import list_images
    from detq_eval.report.gallery import gallery

    refs = list_images(options.data, options.images, split="val")
    return gallery(wanted, got, refs, names, label=of[0], backend=of[1])


def show_result(result: Mapping[str, Any], output: Path) -> None:
    """Tables for a person."""
    if result["accuracy"]:
        _show_accuracy(result["accuracy"])
    if result["speed"]:
        _show_speed(result["speed"], result["files"])
    _show_files(result, output)
    _show_learned(result["learned"])
    print(f"report: {output / 'report.html'}")
    for warning in result["warnings"]:
        print(f"warning: {warning}")
    if result["reused"]:
        kept = f"{len(result['reused'])} of {len(result['steps'])} steps"
        print(f"kept from before: {kept} ({', '.join(result['reused'])})")


def _show_files(result: Mapping[str, Any], output: Path) -> None:
    rows = []
    for label, file in result["files"].items():
        path, layers = output / file, result["layers"].get(label)
        int8 = f"{layers['int8']} of {layers['all']}" if layers else ""
        rows.append([str(path), f"{path.stat().st_size / 1e6:.1f}", int8])
    print_table("", ["file", "MB", "INT8 layers"], rows)


def _show_learned(learned: Mapping[str, Any]) -> None:
    rows = [
        [
            label,
            one["method"]["method"],
            str(one["images"]),
            f"{one['snr_db_before']:.2f}",
            f"{one['snr_db_after']:.2f}",
            "yes" if one["kept"] else "no",
            f"{one['seconds']:.0f}",
        ]
        for label, outcomes in learned.items()
        for one in outcomes
    ]
    if rows:
        columns = ["target", "learner", "images", "before", "after", "kept", "s"]
        title = "signal to noise in front of decoding, dB, on the calibration images"
        print_table(title, columns, rows, words=["learner", "kept"])


def _show_accuracy(accuracy: Mapping[str, Any]) -> None:
    rows = []
    for key, found in accuracy.items():
        label, backend = key.split(" ")
        base = accuracy[f"float {backend}"]
        lost = "" if label == "float" else f"{base['AP'] - found['AP']:.4f}"
        ap, ap50, ap75 = (f"{found[name]:.4f}" for name in ("AP", "AP50", "AP75"))
        speed = f"{found['images_per_second']:.1f}"
        rows.append([found["file"], backend, ap, lost, ap50, ap75, speed])
    columns = ["file", "engine", "AP", "AP lost", "AP50", "AP75", "images/s"]
    first = next(iter(accuracy.values()))
    title = f"accuracy on {number_of(first['images'], 'image')}, 0 to 1"
    print_table(title, columns, rows, words=["engine"])
    show_agreement(
        [
            ([found["file"], backend], found["agreement"])
            for key, found in accuracy.items()
            for backend in [key.split(" ")[1]]
            if "agreement" in found
        ],
        ["file", "engine"],
    )


def _show_speed(speed: Mapping[str, Any], files: Mapping[str, str]) -> None:
    rows = [
        [
            files[label],
            timing["backend"],
            f"{timing['wall_ms']['median']:.2f}",
            f"{timing['speedup']['median']:.2f}",
            f"{timing['speedup']['p10']:.2f} to {timing['speedup']['p90']:.2f}",
        ]
        for label, timing in speed["timings"].items()
    ]
    columns = ["file", "engine", "ms per image", "speed-up", "10 % to 90 %"]
    print_table(f"speed on {speed['cpu']} ({speed['isa']})", columns, rows, words=["engine"])
