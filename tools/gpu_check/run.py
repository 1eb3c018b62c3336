"""The steps on the GPU: each leaves its part of the record, and one that fails stops no other."""

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from detq.cli.output import Output
from detq.cli.scoring import METRICS, score_file
from detq.errors import DetqError, InputError
from detq.recipe import Evaluation
from detq.target import Target
from detq.whole_file import told, written_whole
from detq_deploy.backends import open_runner
from detq_deploy.bench import Contender, bench
from detq_deploy.nvidia.engine_audit import EngineAudit
from detq_deploy.targets import TENSORRT
from detq_deploy.trt.build_process import build_apart
from detq_deploy.trt.clocks import gpu_state
from detq_deploy.trt.device import REACHES
from detq_deploy.trt.layers import report_engine
from detq_deploy.trt.machine import this_machine
from detq_deploy.trt.make import Order, make_engine
from detq_deploy.trt.request import BuildRequest, Settings
from detq_deploy.trt.runner import TensorRtRunner
from tools.gpu_check.prepare import ANNOTATIONS, MANIFEST, PICTURES, Manifest
from tools.gpu_check.questions import LAYER, QUESTIONS, read_question

Record = dict[str, Any]
Step = Callable[[], Any]

_ROUNDS = 7
_RUNS = 50


def run(folder: Path, output: Path, *, own_kernels: bool, quiet: bool) -> Record:
    """Run every step and keep the record in ``output``, written anew after each.

    Args:
        folder: of ``prepare``.
        output: JSON file; engines and inspector files lie in a folder beside it.
        own_kernels: build without cuBLAS and cuDNN.
        quiet: tell nothing.

    Raises:
        TargetUnavailableError: no TensorRT, driver or GPU: nothing was tried.
        InputError: the folder is not one of ``prepare``.
    """
    machine = this_machine()
    manifest = _manifest(folder)
    record: Record = {"machine": machine, "title": machine.title, "clocks": gpu_state()}
    work = output.with_name(f"{output.stem}.files")
    work.mkdir(parents=True, exist_ok=True)
    for name, step in _steps(folder, work, manifest, own_kernels):
        if not quiet:
            print(name, file=sys.stderr, flush=True)
        record[name] = _tried(step)
        with written_whole(output) as path:
            text = msgspec.json.encode(record, enc_hook=str)
            path.write_bytes(msgspec.json.format(text, indent=2) + b"\n")
    return record


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    hint = "fill the folder with: python -m tools.gpu_check prepare"
    with told(path, "cannot be read", hint):
        try:
            return msgspec.json.decode(path.read_bytes(), type=Manifest)
        except msgspec.MsgspecError as error:
            raise InputError(f"is no manifest: {error}", where=str(path), hint=hint) from error


def _tried(step: Step) -> Any:
    try:
        return step()
    except DetqError as error:
        return {"failed": str(error)}
    except Exception as error:  # a bug of ours is a finding here, and the other steps go on
        return {"failed": f"{type(error).__name__}: {error}"}


def _steps(
    folder: Path, work: Path, manifest: Manifest, own_kernels: bool
) -> Iterator[tuple[str, Step]]:
    target = TENSORRT[manifest.target]
    for subject, references in manifest.references.items():
        home, engines = folder / subject, _engines(work, subject)
        for form, (onnx, settings) in _forms(home, target, own_kernels).items():
            engine = engines[form]
            yield f"{subject} {form}: build", partial(_build, onnx, target, settings, engine)
            score = partial(_score, engine, home, folder / PICTURES, references)
            yield f"{subject} {form}: score", score
        yield f"{subject}: bench", partial(_bench, engines)
        yield f"{subject}: ways to CUDA", partial(_reaches, engines)
        why = manifest.rtx.get(subject, "")
        yield f"{subject}: TensorRT-RTX", partial(_rtx, home, why, work / f"{subject}.rtx.json")
    for name in QUESTIONS:
        yield f"question {name}", partial(_ask, folder / "questions", name, work, own_kernels)


def _engines(work: Path, subject: str) -> dict[str, Path]:
    return {form: work / f"{subject}.{form}.engine" for form in ("fp32", "fp16", "int8")}


def _forms(home: Path, target: Target, own_kernels: bool) -> dict[str, tuple[Path, Settings]]:
    """What is built: from the float file twice, and from the Q/DQ file."""
    int8 = home / f"model.{target.name}.onnx"
    floats = {"typing": "weak", "int8": False, "own_kernels": own_kernels}
    return {
        "fp32": (home / "float.onnx", msgspec.convert({**floats, "fp16": False}, Settings)),
        "fp16": (home / "float.onnx", msgspec.convert({**floats, "fp16": True}, Settings)),
        "int8": (
            int8,
            Settings(typing="strong" if target.strongly_typed else "weak", own_kernels=own_kernels),
        ),
    }


def _build(onnx: Path, target: Target, settings: Settings, engine: Path) -> Record:
    made = make_engine(Order(onnx, target, settings), engine)
    if made.side_car is None:
        return {"refused": made.findings}
    with written_whole(engine.with_suffix(".inspector.json")) as path:
        path.write_text(made.side_car.layers)
    return {
        "seconds": made.side_car.seconds,
        "bytes": made.side_car.engine_bytes,
        "flags": made.side_car.flags,
        "warnings": made.warnings,
        "audit": None if made.audit is None else _in_short(made.audit),
    }


def _in_short(audit: EngineAudit) -> Record:
    found: Record = msgspec.to_builtins(audit)
    layers = found.pop("layers")
    return found | {"layers": len(layers)}


def _score(engine: Path, home: Path, pictures: Path, references: Mapping[str, Any]) -> Record:
    options = Evaluation(data=home / ANNOTATIONS, images=pictures)
    found = score_file(engine, "tensorrt", options, Output(quiet=True))
    beside = {
        title: {name: found[name] - figures[name] for name in METRICS if figures[name] >= 0}
        for title, figures in references.items()
    }
    keep = (*METRICS, "images", "images_per_second", "engine")
    return {name: found[name] for name in keep} | {"above": beside}


def _bench(engines: Mapping[str, Path]) -> Any:
    paths = [path for path in engines.values() if path.is_file()]
    if not paths:
        raise InputError("no engine was built", hint="see the steps above")
    contenders = [
        Contender(path, "tensorrt", cuda_graph=graph) for graph in (False, True) for path in paths
    ]
    return bench(contenders, rounds=_ROUNDS, inspect=False)


def _reaches(engines: Mapping[str, Path]) -> Record:
    """Every way to CUDA gives the same numbers; the first is what the others are compared with."""
    built = [path for path in engines.values() if path.is_file()]
    if not built:
        raise InputError("no engine was built", hint="see the steps above")
    path = built[-1]
    found: Record = {}
    first: Any = None
    for reach in REACHES:
        outcome = _tried(partial(_outputs, path, reach))
        if "failed" in outcome:
            found[reach] = outcome
            continue
        first = outcome if first is None else first
        gaps = [float(np.abs(outcome[name] - first[name]).max()) for name in first]
        found[reach] = {"largest_difference": max(gaps)}
    return found


def _outputs(path: Path, reach: Any) -> Record:
    with TensorRtRunner(path, reach=reach) as run:
        height, width = run.size or run.detector.size
        images = np.random.default_rng(0).random((run.batch or 1, 3, height, width), np.float32)
        return dict(run(images))


def _rtx(home: Path, why: str, inspector: Path) -> Record:
    """Whether a plan that was built without a GPU runs here, and as what."""
    if why:
        return {"not_built": why}
    with open_runner("tensorrt", home / "rtx.engine") as run:
        assert isinstance(run, TensorRtRunner)
        height, width = run.size or run.detector.size
        images = np.zeros((run.batch or 1, 3, height, width), np.float32)
        shapes = {name: array.shape for name, array in run(images).items()}
        times = []
        for _ in range(_RUNS):
            run(images)
            times.append(run.gpu_ms)
        layers = run.layer_information()
    with written_whole(inspector) as path:
        path.write_text(layers)
    return {"outputs": shapes, "gpu_ms": statistics.median(times)}


def _ask(folder: Path, name: str, work: Path, own_kernels: bool) -> Record:
    question = read_question(folder, name)
    plan = work / f"{name}.engine"
    settings = Settings(typing="weak", own_kernels=own_kernels)
    answer = build_apart(
        BuildRequest(onnx=str(folder / question.file), plan=str(plan), settings=settings)
    )
    if answer.refusals:
        return {"about": question.about, "refused": answer.refusals}
    with TensorRtRunner(plan) as run:
        (found,) = run(question.images).values()
    layers = report_engine(plan).audit.layers
    largest = float(np.abs(question.wanted).max())
    return {
        "about": question.about,
        "relative_error": float(np.abs(found - question.wanted).max()) / largest,
        "int8": any(layer.got == "Int8" for layer in layers if LAYER in " ".join(layer.nodes)),
        "layers": [(layer.name, layer.layer_type, layer.got) for layer in layers],
        "warnings": answer.warnings,
    }
