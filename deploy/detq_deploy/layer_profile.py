"""What each layer costs in float and in INT8, measured by the engine that will run it.

``detq bench FLOAT INT8 --profile FILE`` writes such a file, ``detq tune --latency-profile FILE``
reads it. A layer's time is that of all kernels that compute it, with the bias, activation or sum
that the engine took in; kernels that only round or change the layout stand apart.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from detq.errors import InputError
from detq.whole_file import told, written_whole
from detq_deploy.backends import open_runner
from detq_deploy.bench_images import batches, input_size, takes_pixels
from detq_deploy.cpu import cpu_features
from detq_deploy.layer_times import KernelTime, kernel_times

Format = Literal["detq layer profile 1"]
FORMAT: Format = "detq layer profile 1"


class LayerCost(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds per image of one layer.

    Attributes:
        float_ms: where it ran in float; None if it did in no file.
        int8_ms: where it ran in INT8; None if it did in no file.
    """

    float_ms: float | None
    int8_ms: float | None


class LayerTime(msgspec.Struct, frozen=True, kw_only=True):
    """One layer in one file.

    Attributes:
        name: of the ONNX node with the weights.
        ms: per image.
        int8: the engine ran it in INT8.
        kernels: the engine's names of what computes it.
    """

    name: str
    ms: float
    int8: bool
    kernels: tuple[str, ...]


class OtherTime(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel between the layers.

    Attributes:
        name: the engine's.
        kind: the engine's name of an operator.
        ms: per image.
    """

    name: str
    kind: str
    ms: float


class ModelProfile(msgspec.Struct, frozen=True, kw_only=True):
    """All of one file.

    Attributes:
        path: of the file.
        total_ms: per image, of all kernels; more than a run takes where profiling slows it.
        runs: that were measured; times are their medians.
        layers: with weights.
        others: all other kernels.
    """

    path: str
    total_ms: float
    runs: int
    layers: tuple[LayerTime, ...]
    others: tuple[OtherTime, ...]


class ProfileFile(msgspec.Struct, frozen=True, kw_only=True):
    """What is on disk.

    Attributes:
        format: of this file.
        engine: name and version.
        backend: its key.
        device: processor and instruction set, or GPU.
        threads: of a CPU engine.
        batch: images in a run.
        size: height and width.
        layers: name → what it costs.
        models: the files that were measured.
    """

    format: Format = FORMAT
    engine: str
    backend: str
    device: str
    threads: int
    batch: int
    size: tuple[int, int]
    layers: dict[str, LayerCost]
    models: tuple[ModelProfile, ...]


def profile_layers(
    paths: Sequence[Path],
    backend: str,
    *,
    threads: int | None = None,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    runs: int = 50,
    on_model: Callable[[int], None] = lambda done: None,
) -> ProfileFile:
    """Measure every layer of files of one network, usually its float and its INT8 form.

    Args:
        paths: model files of one input size.
        backend: that runs all of them.
        threads: of a CPU engine; the usable cores if None.
        batch: images in a run; the first file's fixed batch, or 1, if None.
        size: height and width where a file fixes none.
        runs: of each file.
        on_model: called with the number of files done.

    Raises:
        DetqError: a file cannot be opened or run, or the files have different sizes.
    """
    threads = threads or cpu_features().usable_cores
    models: list[ModelProfile] = []
    shapes: list[tuple[int, tuple[int, int]]] = []
    engine = ""
    for path in paths:
        with open_runner(backend, path, threads=threads) as run:
            own = batch or run.batch or 1, size or input_size(path, run)
            (images, *_) = batches(*own, None, pixels=takes_pixels(run))
        shapes.append(own)
        if own != shapes[0]:
            raise InputError(
                "has another batch or size than the first model",
                where=str(path),
                hint="profile files of one network at one size",
            )
        engine, kernels = kernel_times(backend, path, images, runs=runs, threads=threads)
        models.append(model_profile(path, kernels, runs, own[0]))
        on_model(len(models))
    cpu = cpu_features()
    return ProfileFile(
        engine=engine,
        backend=backend,
        device=engine if backend == "tensorrt" else f"{cpu.model} ({cpu.isa_label})",
        threads=threads,
        batch=shapes[0][0],
        size=shapes[0][1],
        layers=layer_costs(models),
        models=tuple(models),
    )


def model_profile(path: Path, kernels: Sequence[KernelTime], runs: int, batch: int) -> ModelProfile:
    """Kernels put to their layers; one that computes several is shared out evenly."""
    parts: dict[str, list[tuple[float, KernelTime]]] = {}
    for kernel in kernels:
        for layer in kernel.layers:
            share = kernel.ms / len(kernel.layers) / batch
            parts.setdefault(layer, []).append((share, kernel))
    return ModelProfile(
        path=str(path),
        total_ms=sum(kernel.ms for kernel in kernels) / batch,
        runs=runs,
        layers=tuple(
            LayerTime(
                name=name,
                ms=sum(ms for ms, _ in found),
                int8=any(kernel.int8 for _, kernel in found),
                kernels=tuple(kernel.name for _, kernel in found),
            )
            for name, found in parts.items()
        ),
        others=tuple(
            OtherTime(name=kernel.name, kind=kernel.kind, ms=kernel.ms / batch)
            for kernel in kernels
            if not kernel.layers
        ),
    )


def layer_costs(models: Sequence[ModelProfile]) -> dict[str, LayerCost]:
    """The first time of each layer in float, and in INT8, in the order of the files."""
    found: dict[str, dict[bool, float]] = {}
    for model in models:
        for layer in model.layers:
            found.setdefault(layer.name, {}).setdefault(layer.int8, layer.ms)
    return {
        name: LayerCost(float_ms=times.get(False), int8_ms=times.get(True))
        for name, times in found.items()
    }


def write_profile(profile: ProfileFile, path: Path) -> None:
    """Write the file, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(profile), indent=2) + b"\n")


def read_profile(path: Path) -> ProfileFile:
    """Read what ``write_profile`` wrote.

    Raises:
        InputError: there is no such file, or it is something else.
    """
    try:
        with told(path, "cannot be read", "make one with: detq bench FLOAT INT8 --profile FILE"):
            return msgspec.json.decode(path.read_bytes(), type=ProfileFile)
    except msgspec.MsgspecError as error:
        raise InputError(
            f"is no profile of layers: {error}",
            where=str(path),
            hint="make one with: detq bench FLOAT INT8 --profile FILE",
        ) from error
