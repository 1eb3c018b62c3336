"""One call on a device, one JSON back: what is there, and what INT8 is worth on it.

The bundled demo detector, a YOLOv6-N layout of half its width, goes the whole way: written for
the engine that is here, built, its layers looked at, timed, and scored on drawn pictures. Nothing
else is needed, and what fails is written down beside what works.
"""

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from detq import __version__
from detq.cli.output import Output, print_table
from detq.cli.scoring import score_file, write_json
from detq.errors import DetqError, TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detq.target import Target
    from detq_deploy.trt.make import Made
    from detq_deploy.trt.request import Settings

ROUNDS = 8
TENSORRT = "tensorrt"
CPU_ENGINES = ("openvino", "onnxruntime")
CPU_TARGET = "openvino-avx2"  # exact on every x86, and in both
NOTE = (
    "demo detector, YOLOv6-N layout of half its width, 320x320, batch 1; float is the network with "
    "the rounded weights, so that the two differ in precision alone (on a CPU INT8 has 7-bit ones)"
)


@dataclass(frozen=True)
class _Step:
    """Does something and keeps what it gives, or why it failed."""

    figures: dict[str, Any]

    @contextmanager
    def __call__(self, name: str) -> "Iterator[None]":
        try:
            yield
        except DetqError as error:
            self.figures.setdefault("failed", {})[name] = str(error)


def check_device(report: Path, pictures: int, out: Output) -> int:
    """Check this machine and write the report.

    Args:
        report: JSON file to write.
        pictures: to score on.
        out: shows how far it is, and tells the figures.

    Returns:
        0, or 1 if something failed.

    Raises:
        InputError: the report cannot be written.
    """
    from detq_eval.demo_set.files import write_demo_set

    figures = _machine()
    write_json(report, figures)  # first of all: if it cannot be written nothing is begun
    with TemporaryDirectory(prefix="detq-check-") as folder:
        drawn = write_demo_set(Path(folder) / "pictures", pictures, 1)
        figures["engines"] = {
            backend: _checked(backend, Path(folder), drawn.evaluation, out)
            for backend in _backends()
        }
    write_json(report, msgspec.to_builtins(figures, enc_hook=str))
    out.tell(figures, lambda: _show(figures, report))
    failed = any("failed" in found for found in figures["engines"].values())
    return 1 if failed or not figures["engines"] else 0


def _machine() -> dict[str, Any]:
    from detq.versions import versions
    from detq_deploy.cpu import cpu_features
    from detq_deploy.trt.driver import probe_driver

    cpu = cpu_features()
    return {
        "detq": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu.model,
        "isa": cpu.isa_label,
        "cores": cpu.usable_cores,
        "gpu": msgspec.to_builtins(probe_driver()),
        "jetson": _line("/etc/nv_tegra_release"),
        "board": _line("/proc/device-tree/model").strip("\0"),
        "versions": versions(),
        "note": NOTE,
    }


def _line(path: str) -> str:
    try:
        return Path(path).read_text().partition("\n")[0]
    except OSError:
        return ""


def _backends() -> Sequence[str]:
    """TensorRT where a GPU is, else the engines for the processor that are installed."""
    from detq.versions import versions
    from detq_deploy.trt.driver import probe_driver

    driver = probe_driver()
    if driver is not None and driver.gpus:
        return (TENSORRT,)
    return [name for name in CPU_ENGINES if name in versions()]


def _checked(backend: str, folder: Path, truth: Path, out: Output) -> dict[str, Any]:
    from detq_deploy.targets import target_named

    figures: dict[str, Any] = {}
    step = _Step(figures)
    models: dict[str, Path] = {}
    with step("write"):
        target = target_named(_tensorrt() if backend == TENSORRT else CPU_TARGET)
        figures["target"] = target.name
        models = _written(target, folder / backend)
    made: dict[str, Made] = {}
    if backend == TENSORRT:
        for name, file in models.items():
            with step(f"build {name}"):
                made[name] = _built(file, _settings(name, target), target, out)
                figures[f"{name}_build"] = _told(made[name])
        models = {name: models[name].with_suffix(".engine") for name in made}
    else:
        for name, file in models.items():
            with step(f"audit {name}"):
                from detq_deploy.inspect_cpu import int8_layers

                figures[f"{name}_layers"] = int8_layers(backend, file)
    if models:
        with step("bench"):
            figures["speed"] = _timed(backend, models, out)
    if len(made) == 2:
        figures["int8_beside_float"] = _beside(made, target, figures.get("speed"))
    for name, file in models.items():
        with step(f"eval {name}"):
            figures[f"{name}_accuracy"] = _scored(backend, file, truth, out)
    return figures


def _tensorrt() -> str:
    """The target of the TensorRT that is here."""
    from detq_deploy.trt.dialect import target_for
    from detq_deploy.trt.load import load_tensorrt

    return target_for(load_tensorrt())


def _written(target: "Target", folder: Path) -> dict[str, Path]:
    """The float and the INT8 file for an engine."""
    from detq.dialects.strip import strip
    from detq.dialects.write import write_dialect, write_float
    from detq.graph.files import detector_from_metadata, load_model, save_model
    from detq.model import FloatModel
    from detq_eval.demo_set.files import PLAIN, QUANTIZED

    plain = load_model(QUANTIZED[PLAIN])
    detector = detector_from_metadata(plain.metadata_props, PLAIN)
    stripped = FloatModel(strip(plain).graph, detector)
    found = {"float": folder / "float.onnx", "int8": folder / "int8.onnx"}
    if target.name == CPU_TARGET:
        save_model(write_float(stripped, batch=1), found["float"])
        save_model(load_model(QUANTIZED[CPU_TARGET]), found["int8"])
        return found
    half = target.strongly_typed
    save_model(write_float(stripped, batch=1, target=target, half=half), found["float"])
    save_model(write_dialect(plain, detector, target, batch=1, recipe=""), found["int8"])
    return found


def _settings(name: str, target: "Target") -> "Settings":
    from detq_deploy.trt.request import Settings

    typing: Literal["weak", "strong"] = "strong" if target.strongly_typed else "weak"
    return Settings(typing=typing, fp16=True, int8=name == "int8")


def _built(file: Path, settings: "Settings", target: "Target", out: Output) -> "Made":
    from detq_deploy.trt.make import Order, make_engine

    order = Order(onnx=file, target=target, settings=settings)
    engine = file.with_suffix(".engine")
    with out.progress(f"build {engine.name}", 1000) as on_part:
        made = make_engine(order, engine, lambda phase, part: on_part(int(1000 * part)))
    if made.side_car is None:
        first = made.findings[0]
        raise TargetError(first.what, where=first.node, hint=first.remedy)
    return made


def _told(made: "Made") -> dict[str, Any]:
    car, audit = made.side_car, made.audit
    assert car is not None
    return {
        "machine": car.machine, "bytes": car.engine_bytes, "seconds": car.seconds,
        "flags": car.flags, "layers": car.layers, "kernels": audit and audit.kinds,
        "int8_share_of_products": audit and audit.int8_share,
        "in_float": audit and audit.in_float, "findings": made.findings,
        "warnings": made.warnings,
    }  # fmt: skip


def _beside(
    made: "Mapping[str, Made]", target: "Target", speed: Mapping[str, Any] | None
) -> Sequence[Any]:
    """Whether INT8 is larger or slower than float16, and why that is likely."""
    from detq_deploy.trt.sister import Sized, sister_findings

    sized, title = [], ""
    for name in ("int8", "float"):
        car = made[name].side_car
        assert car is not None
        title = car.machine.title
        ms = None if speed is None else speed["timings"][name]["wall_ms"]["median"]
        sized.append(Sized(car.engine_bytes, made[name].audit, _settings(name, target), ms))
    return sister_findings(sized[0], sized[1], title)


def _timed(backend: str, models: Mapping[str, Path], out: Output) -> Any:
    from detq_deploy.bench import Contender, bench

    contenders = [Contender(path, backend) for path in models.values()]
    with out.progress(f"time in {backend}", ROUNDS) as on_round:
        found = bench(contenders, rounds=ROUNDS, on_round=on_round)
    timings = dict(zip(models, msgspec.to_builtins(found.timings), strict=True))
    return {
        "isa": found.isa, "load_average": found.load_average, "gpu": found.gpu,
        "timings": timings,
    }  # fmt: skip


def _scored(backend: str, file: Path, truth: Path, out: Output) -> dict[str, Any]:
    from detq.recipe import Evaluation

    return score_file(file, backend, Evaluation(data=truth), out)


def _show(figures: Mapping[str, Any], report: Path) -> None:
    rows = []
    for backend, found in figures["engines"].items():
        for name in ("float", "int8"):
            accuracy = found.get(f"{name}_accuracy")
            timing = found.get("speed", {}).get("timings", {}).get(name)
            rows.append(
                [
                    f"{backend} {name}",
                    "" if accuracy is None else f"{accuracy['AP']:.4f}",
                    "" if timing is None else f"{timing['wall_ms']['median']:.2f}",
                    "" if timing is None else f"{timing['speedup']['median']:.2f}",
                ]
            )
    if rows:
        print_table(f"{figures['cpu']}: {NOTE}", ["", "AP", "ms", "times as fast"], rows)
    else:
        print("no engine is installed here, and no GPU: see detq doctor")
    for backend, found in figures["engines"].items():
        for step, why in found.get("failed", {}).items():
            print(f"{backend} {step} failed: {why}")
    print(f"all of it: {report}")
