"""A budget of accuracy: detq tune beside NNCF's accuracy-aware mode, from plain min-max.

    DETQ_DATA=... python -m benchmarks.budget lite --work runs/budget

Both may lose 0.2 AP against the float model and judge candidates by the same evaluation, in
simulation (ONNX Runtime node by node). Writes ``benchmarks/results/budget.<subject>.json``, a cell
at a time; what is in the file is not done again, and a search that was stopped goes on. NNCF works
in an environment of its own below ``--work``. Latency is a ratio of processor time on OpenVINO,
one thread, of the file that the same recipe gives there.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir
from msgspec.structs import replace

from benchmarks.cells import Cells, setting_of
from benchmarks.peers import (
    ACCURACY_AWARE,
    RESULTS,
    TARGETS,
    Ground,
    judge,
    made_by,
    prepare,
    run,
    scored,
)
from benchmarks.subjects import base_recipe
from detq.cli.chain import tools_for
from detq.cli.output import Output
from detq.cli.tuning import boxes_for
from detq.graph.files import load_model
from detq.graph.macs import macs_of
from detq.graph.qdq import stored_behind
from detq.pipeline.candidates import Candidates, Measures
from detq.pipeline.sensitivity import Look
from detq.recipe import MinMax, Recipe
from detq.recipe_file import read_recipe, recipe_as_yaml
from detq.run_dir import RunDir
from detq.tune.budget import Budget
from detq.tune.costs import costs_by_macs
from detq.tune.search import Found, search
from detq_deploy.backends import open_runner

MAX_DROP = 0.2  # points of AP, 0 to 100; peers.MAX_DROP is the same from 0 to 1
IMAGES, EVALUATIONS = 64, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject")
    parser.add_argument("--work", type=Path, required=True, help="for environments and models")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs="*", help="start, detq, nncf")
    arguments = parser.parse_args()
    work = arguments.work.absolute()
    base = base_recipe(arguments.subject, work, 1)
    start = replace(base, channel_wise=None, learn=(), range=MinMax())
    setting = {**setting_of(base), "max_drop": MAX_DROP}
    table = Cells(arguments.results / f"budget.{arguments.subject}.json", setting)
    ground = prepare(start, work / arguments.subject / "seed-0", table)
    for name, measure in {"start": by_start, "detq": by_detq, "nncf": by_nncf}.items():
        if not table.has(name) and (not arguments.only or name in arguments.only):
            table.add(name, measure(start, ground, work))


def by_start(start: Recipe, ground: Ground, work: Path) -> dict[str, Any]:
    """Plain min-max, nothing float but the predictions."""
    files, cost = made_from(start, ground, "start")
    return {**judged(files, ground), **cost}


def by_detq(start: Recipe, ground: Ground, work: Path) -> dict[str, Any]:
    """What the search comes to, and what it spent."""
    found, spent = searched(start, ground)
    recipe = ground.folder / "best.yaml"
    recipe.write_text(found.best.recipe)
    files, _ = made_from(read_recipe(recipe), ground, "best")
    recipes = len({one.recipe for one in found.tried})  # a full answer holds its quick one
    full = sum(one.ap is not None for one in found.tried)
    truth = len(json.loads((ground.folder / "job.json").read_text())["truth_images"])
    return {
        **judged(files, ground),
        "kept": found.kept,
        "evaluations": {
            "agreement": recipes,
            "AP": full,
            "images": (recipes + 1) * IMAGES + (full + 1) * truth,  # and the float model's
        },
        "float_layers": len(found.best.float_layers),
        "cpu_seconds": round(spent, 1),
        "way": [
            {
                "what": one.what,
                "agreement": round(100 * one.agreement, 2),
                "drop": None if one.drop is None else round(one.drop, 2),
                "float_macs": round(one.float_macs, 4),
            }
            for one in found.tried
        ],
    }


def searched(start: Recipe, ground: Ground) -> tuple[Found, float]:
    """The search, and processor time of all its answers, also of those that were there."""
    out = Output(quiet=True)
    tools = tools_for(start, out)
    options = ground.options

    def opened(file: Path) -> Any:
        return open_runner("onnxruntime", file, threads=1, optimize=False, busy_cores=True)

    measures = Measures(
        open=opened,
        boxes=boxes_for(start, IMAGES, out),
        ap=lambda file: scored(file, options, optimize=False)[0] / 100,
        latency=None,
        of=["simulated", IMAGES, options.data.name],
    )
    with RunDir(ground.folder / "search") as folder:
        judge_of = Candidates(start, "plain", folder, tools, measures, Look(images=IMAGES))
        judge_of.begin(lambda model, int8, times: costs_by_macs(model))
        found = search(
            start,
            judge_of,
            Budget(max_drop=MAX_DROP),
            evaluations=EVALUATIONS,
            on_tried=lambda one: print(one.what, one.agreement, one.drop, one.float_macs,
                                       one.cpu_seconds, flush=True),
        )  # fmt: skip
        asked = sum(judge_of.asking_seconds.values())
    latest = {one.recipe: one.cpu_seconds for one in found.tried}  # a full answer holds its quick
    return found, sum(latest.values()) + asked


def by_nncf(start: Recipe, ground: Ground, work: Path) -> dict[str, Any]:
    """NNCF's default quantization, layers put back to float until the drop is small enough."""
    log, kept = ground.folder / "evaluations.txt", ground.folder / "nncf.cost.json"
    if not kept.is_file():
        log.unlink(missing_ok=True)
        _, cost = made_by(*ACCURACY_AWARE, ground, work)
        kept.write_text(json.dumps(cost))
    file = ground.folder / f"{'.'.join(ACCURACY_AWARE)}.onnx"
    images = [int(line.split()[0]) for line in log.read_text().splitlines()]
    counts = {"AP": images.count(max(images)), "images": sum(images)}
    files = dict.fromkeys(TARGETS, file)
    return {**judged(files, ground), "evaluations": counts, **json.loads(kept.read_text())}


def made_from(recipe: Recipe, ground: Ground, name: str) -> tuple[dict[str, Path], Any]:
    """Files of a recipe for simulation and for the engines."""
    given = {"targets": TARGETS, "evaluation": None, "bench": None, "batch": 1}
    path = ground.folder / f"{name}.run.yaml"
    path.write_text(recipe_as_yaml(replace(recipe, **given)))
    output = ground.folder / name
    command = [sys.executable, "-m", "detq", "run", str(path), "--output", str(output)]
    cost = run(command, ground.folder)
    return {target: output / f"model.{target}.onnx" for target in TARGETS}, cost


def judged(files: Mapping[str, Path], ground: Ground) -> dict[str, Any]:
    """Accuracy, speed, and how much of the work is float."""
    return {**judge(files, ground), "float_macs_share": round(float_share(files["plain"]), 4)}


def float_share(file: Path) -> float:
    """Of the multiplications of a file, those of convolutions with float weights."""
    total = left = 0
    for node in load_model(file).graph:
        if node.op_type in ("Conv", "ConvTranspose"):
            count = macs_of(node) or 0
            total += count
            left += count * _is_float(node)
    return left / max(total, 1)


def _is_float(node: ir.Node) -> bool:
    return stored_behind(node.inputs[1]) is None


if __name__ == "__main__":
    main()
