"""Cells of a table: one recipe each, made by detq's own pipeline, kept in a JSON file.

A cell that is in the file is not measured again. Cells that share a run folder share what the
folder keeps: the float model and its statistics. Accuracy is that of ONNX Runtime without its
optimizations: each Q and DQ by itself, in float, which is what ``plain`` files are judged by.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from detq.calibration import observe_images
from detq.cli.sources import read_source
from detq.graph.files import load_model
from detq.graph.macs import macs_of
from detq.pipeline import quantize_all
from detq.pipeline.make import make_float
from detq.pipeline.progress import Run
from detq.pipeline.tools import Tools
from detq.recipe import Evaluation, Recipe
from detq.run_dir import RunDir
from detq.runner import Runner
from detq.target import PLAIN
from detq.whole_file import written_whole
from detq_deploy.backends import open_runner
from detq_deploy.cpu import cpu_features
from detq_eval.agreement import Found, agreement
from detq_eval.dataset import read_dataset
from detq_eval.evaluate import evaluate
from detq_eval.output_error import ErrorMeter

SNR_IMAGES = 32  # of those that are evaluated on; their labels are not read
FLOAT, QUANTIZED = "float.onnx", "model.plain.onnx"


class Cells:
    """A results file: ``setting`` says what all cells have in common, ``cells`` are by name."""

    def __init__(self, path: Path, setting: Mapping[str, Any]) -> None:
        self.path, self._setting = path, dict(setting)

    def has(self, name: str) -> bool:
        """Whether this process or another has measured a cell."""
        return name in self._read()

    def _read(self) -> dict[str, dict[str, Any]]:
        content = json.loads(self.path.read_text()) if self.path.is_file() else {}
        return dict(content.get("cells", {}))

    def add(self, name: str, cell: Mapping[str, Any]) -> None:
        """Keep a cell, beside those that another process has added since, and say so."""
        content = {"setting": self._setting, "cells": {**self._read(), name: dict(cell)}}
        with written_whole(self.path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n")
        print(name, json.dumps(cell), flush=True)


def setting_of(recipe: Recipe) -> dict[str, Any]:
    """What the figures of a table stand on."""
    calibration, evaluation = recipe.calibration, recipe.evaluation
    return {
        "checkpoint": recipe.checkpoint.name,
        "size": recipe.size,
        "calibration": {
            "data": calibration.data.name, "count": calibration.count, "seed": calibration.seed,
        },
        "evaluation": evaluation.data.name if evaluation is not None else None,
        "simulated_on": cpu_features().isa_label,
    }  # fmt: skip


@dataclass
class Judged:
    """A model file in simulation.

    Attributes:
        ap: 0 to 100.
        ap50: 0 to 100.
        found: detections of every image.
        outputs: of the first images, [1, L, 5 + nc] each.
    """

    ap: float
    ap50: float
    found: Found
    outputs: list[NDArray[np.float32]] = field(repr=False)


class Bench:
    """Measures recipes of one subject; the float model is judged once.

    Args:
        base: recipe whose evaluation all cells share.
        folder: for run folders.
    """

    def __init__(self, base: Recipe, folder: Path) -> None:
        self._options, self._folder = evaluation_of(base), folder
        self._float: Judged | None = None

    def measure(self, recipe: Recipe, name: str) -> dict[str, Any]:
        """One recipe for the target ``plain``, made in the run folder ``name``.

        Returns:
            ``AP`` and its ``drop`` from the float model, 0 to 100; ``boxes_snr_db`` and
            ``scores_snr_db`` of the network's output; ``agreement``; ``extra_macs``, as a share
            of the merged float model's; ``cpu_seconds`` to make the model, with statistics; what
            the learners ``learned``.
        """
        folder = self._folder / name
        spent, learned = make(recipe, folder)
        if self._float is None:
            self._float = judge(folder / FLOAT, self._options)
        wanted, got = self._float, judge(folder / QUANTIZED, self._options)
        meter = ErrorMeter()
        for one, two in zip(wanted.outputs, got.outputs, strict=True):
            meter.add({"output": one}, {"output": two})
        found = agreement(wanted.found, got.found)
        return {
            "AP": round(got.ap, 2),
            "drop": round(wanted.ap - got.ap, 2),
            "AP50": round(got.ap50, 2),
            **{f"{e.output.split()[1]}_snr_db": round(e.snr_db, 2) for e in meter.errors()},
            "agreement": rounded(msgspec.to_builtins(found)),
            "extra_macs": round(macs(folder / QUANTIZED) / macs(folder / FLOAT) - 1, 4),
            "cpu_seconds": spent,
            **({"learned": learned} if learned else {}),
        }


def make(recipe: Recipe, folder: Path) -> tuple[float, list[dict[str, Any]]]:
    """Write the float and the quantized file.

    Returns:
        Seconds of processor time from statistics to file, also of steps that an earlier cell
        has done, and what the learners tell.
    """
    recipe = replace(recipe, targets=("plain",), evaluation=None, bench=None)
    with RunDir(folder) as held:
        clock = _Clock(folder / "cpu_seconds.json")
        run = Run(recipe, held, _tools(clock), total=0)
        floated = make_float(run)
        quantized, _ = quantize_all(run, floated)
        spent = clock.stop()
    made = quantized["plain"]
    steps = [step.name for step in run.taken if step.name != floated.step.name]
    kept = ("kept", "snr_db_before", "snr_db_after")
    told = json.loads((folder / made.learned).read_text()) if made.learned else []
    learned = [
        {"method": one["method"]["method"], **{key: one[key] for key in kept}} for one in told
    ]
    return round(sum(spent[name] for name in steps), 1), learned


class _Clock:
    """Processor time of each step, told by the lines that announce them.

    Args:
        file: keeps what steps took that are not done again.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._begun = file, ("", 0.0)
        self._spent: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}

    def __call__(self, line: str) -> None:
        """``[1/7] calibrate: look at 64 images`` or ``[1/7] calibrate: kept``; no other line."""
        name, _, what = line.partition("] ")[2].partition(": ")
        if not line.startswith("[") or not name:
            return  # a step says how far it is
        self._end()
        self._begun = ("" if what == "kept" else name, time.process_time())

    def stop(self) -> dict[str, float]:
        """Seconds of every step."""
        self._end()
        return self._spent

    def _end(self) -> None:
        name, started = self._begun
        if name:
            self._spent[name] = time.process_time() - started
            self._file.write_text(json.dumps(self._spent))  # a step may outlive its process
        self._begun = ("", 0.0)


def _tools(note: Callable[[str], None]) -> Tools:
    """What making a model needs; the pipeline's other steps are not taken here."""
    given: dict[str, Any] = {
        "read_source": read_source,
        "target_named": {"plain": PLAIN}.__getitem__,
        "engine_here": str,
        "note": note,
        "progress": lambda text, total: nullcontext(lambda done: None),
        "observe": observe_images,
    }
    return Tools(**{part.name: given.get(part.name) for part in fields(Tools)})


def judge(file: Path, options: Evaluation) -> Judged:
    """Accuracy, detections and some raw outputs of a file in simulation."""
    with open_runner(
        "onnxruntime", file, threads=options.threads, optimize=False, busy_cores=True
    ) as runner:
        listening = _Listening(runner)
        dataset = read_dataset(options.data, options.images, names=runner.detector.names)
        found = evaluate(listening, dataset)
    metrics = found.metrics
    return Judged(100 * metrics.ap, 100 * metrics.ap50, list(found.found), listening.heard)


class _Listening:
    """An engine whose first outputs are kept."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.name, self.detector, self.batch = runner.name, runner.detector, runner.batch
        self.heard: list[NDArray[np.float32]] = []

    def __call__(self, images: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
        outputs = self._runner(images)
        if len(self.heard) < SNR_IMAGES:
            self.heard.append(next(iter(outputs.values())))
        return outputs

    def __enter__(self) -> "_Listening":
        return self

    def __exit__(self, *error: object) -> None:
        """Whoever opened the engine closes it."""


def evaluation_of(recipe: Recipe) -> Evaluation:
    if recipe.evaluation is None:
        raise SystemExit("the recipe has no evaluation")
    return recipe.evaluation


def rounded(agreement: Mapping[str, Any]) -> dict[str, Any]:
    """An agreement in percent and four digits."""
    flat = {"AP": 100 * agreement["ap"], **agreement}
    for size, found in agreement["by_size"].items():
        flat[f"AP_{size}"] = 100 * found["ap"]
    kept = ("AP", "AP_small", "AP_medium", "AP_large", "boxes", "missed", "invented", "score_shift")
    return {key: flat[key] if isinstance(flat[key], int) else round(flat[key], 4) for key in kept}


def macs(file: Path) -> int:
    """Multiplications of a graph's convolutions, for one image."""
    nodes = [node for node in load_model(file).graph if node.op_type in ("Conv", "ConvTranspose")]
    counts = {node.name: macs_of(node) for node in nodes}
    unknown = [name for name, count in counts.items() if count is None]
    if unknown:
        raise AssertionError(f"{unknown[0]} has no shapes")
    return sum(count or 0 for count in counts.values())
