"""Other quantizers on the same float ONNX file, the same images, the same evaluation.

    DETQ_DATA=... python -m benchmarks.peers lite --work runs/peers --threads 1

Each peer works in an environment of its own below ``--work`` (nvidia-modelopt replaces the
onnxruntime of the environment it is installed in), made when it is first needed. Prediction
convolutions and decoding stay float for all. Accuracy is taken in simulation (ONNX Runtime
without optimizations, each Q and DQ by itself), in ONNX Runtime and in OpenVINO; speed as a ratio
of processor time on OpenVINO, one thread. What OpenVINO adds up wrongly is scored there a second
time, its int8 activations stored as uint8. ``seconds`` of the processor and the peak of memory
are those of the whole process, imports included.

Ultralytics' exporter is not among them: it takes only Ultralytics' own models.
"""

import argparse
import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnx_ir as ir
from msgspec.structs import replace
from numpy.typing import NDArray

from benchmarks.ablation import STEPS
from benchmarks.cells import Cells, evaluation_of, rounded, setting_of
from benchmarks.subjects import base_recipe
from benchmarks.unsigned import as_uint8
from detq.calibration import drawn_images
from detq.cli.sources import merged, read_source
from detq.data.images import list_images, read_image
from detq.data.letterbox import letterbox, network_input
from detq.dialects import write_float
from detq.graph.files import save_model
from detq.model import FloatModel
from detq.placement import place
from detq.recipe import Abc, Evaluation, Recipe
from detq.recipe_file import recipe_as_yaml
from detq.runner import Runner
from detq.target import PLAIN
from detq_deploy.backends import open_runner
from detq_deploy.bench import Contender, bench
from detq_deploy.openvino_run import compile_model
from detq_deploy.wrong_sums import cautions
from detq_eval.agreement import Found, agreement
from detq_eval.dataset import read_dataset
from detq_eval.evaluate import evaluate

RESULTS = Path(__file__).parent / "results"
WORKER = Path(__file__).with_name("peer_worker.py")
PACKAGES: Mapping[str, Sequence[str]] = {
    "onnxruntime": ["onnxruntime==1.31.1", "onnx==1.21.0"],
    "nncf": ["nncf==3.4.0", "openvino==2026.4.1", "onnx==1.21.0", "onnxruntime==1.31.1"],
    "modelopt": ["nvidia-modelopt[onnx]==0.47.0"],
}
# The default recipe, and with the learner that costs more.
DETQ: Mapping[str, Mapping[str, Any]] = {"default": {}, "abc": {"learn": (Abc(steps=STEPS),)}}
# Tool and method; accuracy-aware comes last, it takes as long as all others.
PEERS = [
    ("nncf", "default"),
    ("nncf", "openvino"),
    ("onnxruntime", "MinMax"),
    ("onnxruntime", "Entropy"),
    ("onnxruntime", "Percentile"),
    ("modelopt", "entropy"),
    ("modelopt", "max"),
]
ACCURACY_AWARE = ("nncf", "accuracy-aware")
MAX_DROP = 0.002  # AP, 0 to 1
INPUT = "images"
TARGETS = ("plain", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Ground:
    """What all contenders stand on.

    Attributes:
        recipe: detq's own, with the calibration images.
        float_file: of the float model.
        found: its detections in simulation.
        folder: for what is made.
    """

    recipe: Recipe
    float_file: Path
    found: Found
    folder: Path

    @property
    def options(self) -> Evaluation:
        """How accuracy is measured."""
        return evaluation_of(self.recipe)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject")
    parser.add_argument("--work", type=Path, required=True, help="for environments and models")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="draws of calibration images")
    parser.add_argument("--count", type=int, help="calibration images; the recipe's if not given")
    parser.add_argument("--draw-from", type=Path, help="folder of images to calibrate with")
    parser.add_argument("--only", nargs="*", help="of detq and the tools, or one and its method")
    parser.add_argument("--accuracy-aware", action="store_true", help="NNCF's, very slow")
    arguments = parser.parse_args()
    work = arguments.work.absolute()
    recipe = base_recipe(arguments.subject, work, arguments.threads)
    if arguments.draw_from is not None:
        calibration = replace(recipe.calibration, data=arguments.draw_from.absolute(), images=None)
        recipe = replace(recipe, calibration=calibration)
    if arguments.count:
        recipe = with_draw(recipe, 0, arguments.count)
    table = Cells(arguments.results / f"peers.{arguments.subject}.json", setting_of(recipe))
    peers = [*PEERS, *([ACCURACY_AWARE] if arguments.accuracy_aware else [])]
    for seed in range(arguments.seeds):
        drawn = with_draw(recipe, seed, recipe.calibration.count)
        ground = prepare(drawn, work / arguments.subject / f"seed-{seed}", table)
        for tool, method in [*(("detq", name) for name in DETQ), *peers]:
            name = f"{tool} {method}, seed {seed}"
            if table.has(name) or not wanted(arguments.only, tool, method):
                continue
            files, cost = (
                made_by_detq(method, ground)
                if tool == "detq"
                else made_by(tool, method, ground, work)
            )
            table.add(name, {**cost, **judge(files, ground)})


def wanted(only: Sequence[str] | None, tool: str, method: str) -> bool:
    return not only or tool in only or f"{tool} {method}" in only


def with_draw(recipe: Recipe, seed: int, count: int) -> Recipe:
    return replace(recipe, calibration=replace(recipe.calibration, seed=seed, count=count))


def prepare(recipe: Recipe, folder: Path, table: Cells) -> Ground:
    """The float model with its accuracy, and the calibration images as arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "float.onnx"
    model = merged(read_source(recipe.checkpoint, recipe.size))
    save_model(write_float(model, batch=1), file)
    detector = model.detector
    refs = drawn_images(recipe.calibration)
    boxed = [letterbox(read_image(ref.path), detector.size)[0] for ref in refs]
    np.save(folder / "images.npy", network_input(boxed, detector.preprocessing))
    options = evaluation_of(recipe)
    truth = list_images(options.data, options.images, split="val")
    job = {
        "model": str(file),
        "input": str(model.graph.graph.inputs[0].name),
        "images": str(folder / "images.npy"),
        "excluded": head_of(model),
        "truth_images": [ref.id for ref in truth],
        "max_drop": MAX_DROP,
        "judge": [sys.executable, "-m", "benchmarks.judge", str(options.data), str(options.images)],
    }
    (folder / "job.json").write_text(json.dumps(job))
    ap, found = scored(file, options, optimize=False)
    if not table.has("float"):
        table.add("float", {"AP_simulated": ap})
    return Ground(recipe, file, found, folder)


def head_of(model: FloatModel) -> list[str]:
    """Nodes behind the hidden layers: the prediction convolutions, and what reads them."""
    predictions = {layer.node for layer in place(model, PLAIN).layers if not layer.int8}
    behind: set[ir.Node] = set()
    for node in model.graph.graph:
        producers = {x.producer() for x in node.inputs if x is not None}
        if node.name in predictions or producers & behind:
            behind.add(node)
    return sorted(str(node.name) for node in behind)


def made_by(tool: str, method: str, ground: Ground, work: Path) -> tuple[dict[str, Path], Any]:
    """A peer's file."""
    output = ground.folder / f"{tool}.{method}.onnx"
    job = ground.folder / f"{tool}.{method}.json"
    content = json.loads((ground.folder / "job.json").read_text())
    job.write_text(json.dumps({**content, "output": str(output)}))
    python = environment(tool, work)
    cost = run([str(python), str(WORKER), tool, method, str(job)], ground.folder)
    if not output.is_file():
        return {"openvino": output.with_suffix(".xml")}, cost
    model = onnx.load(output)
    contract = onnx.load(ground.float_file).metadata_props
    for prop in contract:
        if prop.key not in {known.key for known in model.metadata_props}:
            model.metadata_props.add(key=prop.key, value=prop.value)
    onnx.save(model, output)
    return dict.fromkeys(TARGETS, output), cost


def made_by_detq(method: str, ground: Ground) -> tuple[dict[str, Path], Any]:
    """A file for every engine, as detq writes them."""
    given = {"targets": TARGETS, "evaluation": None, "batch": 1, **DETQ[method]}
    recipe = replace(ground.recipe, **given)
    path = ground.folder / "recipe.yaml"
    path.write_text(recipe_as_yaml(recipe))
    output = ground.folder / f"detq.{method}"
    cost = run(
        [sys.executable, "-m", "detq", "run", str(path), "--output", str(output)], ground.folder
    )
    return {name: output / f"model.{name}.onnx" for name in TARGETS}, cost


def environment(tool: str, work: Path) -> Path:
    """The Python of a tool's own environment."""
    folder = work / "environments" / tool
    ready = folder / ".ready"
    python = folder / "bin" / "python"
    if not ready.is_file():
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES[tool]], check=True)
        ready.touch()
    return python


def run(command: Sequence[str], folder: Path) -> dict[str, float]:
    """Run a process; what it cost."""
    with (folder / "log.txt").open("a") as log:
        # What finds this module's packages may not find the peer's.
        clean = {k: v for k, v in os.environ.items() if command[0] == sys.executable
                 or k != "PYTHONPATH"}  # fmt: skip
        process = subprocess.Popen(command, stdout=log, stderr=log, env=clean)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed, see {folder}/log.txt: {' '.join(command)}")
    return {
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_rss_mib": round(used.ru_maxrss / 1024),
    }


def judge(files: Mapping[str, Path], ground: Ground) -> dict[str, Any]:
    """Accuracy of the file for each place, agreement, and speed on OpenVINO."""
    figures: dict[str, Any] = {}
    if "plain" in files:
        figures["AP_simulated"], found = scored(files["plain"], ground.options, optimize=False)
        figures["agreement"] = rounded(msgspec.to_builtins(agreement(ground.found, found)))
        figures["AP_onnxruntime"], _ = scored(files["onnxruntime"], ground.options)
    with opened_openvino(files["openvino"], ground) as runner:
        figures["AP_openvino"], found = scored_by(runner, ground.options)
    figures.setdefault("agreement", rounded(msgspec.to_builtins(agreement(ground.found, found))))
    if files["openvino"].suffix == ".onnx":
        if next(cautions(files["openvino"], "openvino"), None) is not None:
            unsigned = ground.folder / "unsigned.onnx"
            as_uint8(files["openvino"], unsigned)
            with opened_openvino(unsigned, ground) as runner:
                figures["AP_openvino_uint8"], _ = scored_by(runner, ground.options)
        pair = [Contender(file, "openvino", 1) for file in (ground.float_file, files["openvino"])]
        timing = bench(pair, rounds=5).timings[1]
        figures["openvino_cpu_speedup"] = round(timing.cpu_speedup.median, 2)
        figures["int8_convolutions"] = timing.layers.int8 if timing.layers is not None else None
    return figures


def opened_openvino(file: Path, ground: Ground) -> Runner:
    if file.suffix == ".onnx":
        return open_runner("openvino", file, threads=ground.options.threads, busy_cores=True)
    return IrRunner(file, ground)


class IrRunner:
    """OpenVINO's own file form, which holds no contract of a detector."""

    def __init__(self, file: Path, ground: Ground) -> None:
        self.name = "openvino"
        with open_runner("openvino", ground.float_file) as known:
            self.detector, self.batch = known.detector, known.batch
        compiled = compile_model(file, ground.options.threads or 1, busy_cores=True)
        self._request = compiled.create_infer_request()

    def __call__(self, images: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
        """Run one image."""
        return {"outputs": self._request.infer([images], share_outputs=False)[0]}

    def __enter__(self) -> "IrRunner":
        return self

    def __exit__(self, *error: object) -> None:
        del self._request


def scored(file: Path, options: Evaluation, optimize: bool = True) -> tuple[float, Found]:
    """AP in ONNX Runtime, 0 to 100, and the detections."""
    with open_runner(
        "onnxruntime", file, threads=options.threads, optimize=optimize, busy_cores=True
    ) as runner:
        return scored_by(runner, options)


def scored_by(runner: Runner, options: Evaluation) -> tuple[float, Found]:
    dataset = read_dataset(options.data, options.images, names=runner.detector.names)
    found = evaluate(runner, dataset)
    return round(100 * found.metrics.ap, 2), list(found.found)


if __name__ == "__main__":
    main()
