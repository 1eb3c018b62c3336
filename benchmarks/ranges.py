"""Accuracy of every range method, in the simulation of TensorRT's numerics.

    DETQ_DATA=... python benchmarks/ranges.py configs/yolov6lite_s_coco.yaml \
        --results benchmarks/results/ranges.yolov6lite_s.json --work runs/ranges --threads 1

The recipe names the checkpoint, the images to calibrate and to evaluate on. Each method is
tried on the merged network, and on the same network with even channels. A result is written
as soon as it is there, and what is in the file already is not measured again. Beside COCO's
AP stands the ratio of signal to noise of the network's output in dB, boxes and scores apart,
on the first calibration images. The images that are evaluated on decide nothing.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log10
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from detq.calibration import drawn_images, observe_images
from detq.data.images import read_image
from detq.data.letterbox import letterbox, network_input
from detq.dialects import write_float, write_quantized
from detq.equalize import equalize
from detq.graph.files import save_model
from detq.model import FloatModel
from detq.placement import candidates, place
from detq.quantized import quantize
from detq.ranges import choose_ranges, estimator_from
from detq.ranges.weights import WEIGHT_RANGES
from detq.recipe import (
    ChannelWise,
    Entropy,
    Kl,
    MinMax,
    Mse,
    Percentile,
    RangeMethod,
    Recipe,
    Weights,
    read_recipe,
    resolve_paths,
)
from detq.stats import CalibrationStats, load_stats, save_stats
from detq.target import PLAIN, with_grids
from detq.transforms import transform
from detq.whole_file import written_whole
from detq_deploy.backends import open_runner
from detq_deploy.cpu import cpu_features
from detq_eval.dataset import read_dataset
from detq_eval.evaluate import evaluate
from yolov6_adapter import read_checkpoint, source_from_checkpoint

SNR_IMAGES = 8
PARTS = {"boxes": slice(0, 4), "scores": slice(5, None)}


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured under one name."""

    method: RangeMethod
    weights: Weights = Weights()  # noqa: RUF009 (frozen)
    activation_bits: int = 8


CASES: Mapping[str, Case] = {
    "minmax": Case(MinMax()),
    "percentile 99.9": Case(Percentile(percent=99.9)),
    "percentile 99.99": Case(Percentile(percent=99.99)),
    "percentile 99.999": Case(Percentile(percent=99.999)),
    "mse": Case(Mse()),
    "entropy": Case(Entropy()),
    "entropy, zeros counted": Case(Entropy(count_zeros=True)),
    "kl": Case(Kl()),
    "kl, masked": Case(Kl(divergence="masked")),
    "kl, published": Case(Kl(divergence="published")),
    "minmax, weights mse": Case(MinMax(), Weights(method="mse")),
    "mse, weights mse": Case(Mse(), Weights(method="mse")),
    "minmax, weights per tensor": Case(MinMax(), Weights(per_tensor=True)),
    "mse, 6 bits": Case(Mse(), Weights(bits=6), 6),
    "mse, weights mse, 6 bits": Case(Mse(), Weights(method="mse", bits=6), 6),
    "minmax, 6 bits": Case(MinMax(), Weights(bits=6), 6),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="for statistics and models")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--batch", type=int, default=8)
    arguments = parser.parse_args()
    recipe = resolve_paths(read_recipe(arguments.recipe), arguments.recipe.parent)
    done: dict[str, Any] = (
        json.loads(arguments.results.read_text()) if arguments.results.is_file() else {}
    )
    arguments.work.mkdir(parents=True, exist_ok=True)
    done["setting"] = setting(recipe, arguments)
    model = read_merged(recipe)
    measure(model, "float", None, recipe, arguments, done)
    for name, model_, stats in forms(model, recipe, arguments.work):
        for label, case in CASES.items():
            measure(model_, f"{name}, {label}", (case, stats), recipe, arguments, done)


def read_merged(recipe: Recipe) -> FloatModel:
    source = source_from_checkpoint(read_checkpoint(recipe.checkpoint), recipe.size)
    return transform(source, recipe.transforms)


def forms(
    model: FloatModel, recipe: Recipe, work: Path
) -> Iterator[tuple[str, FloatModel, CalibrationStats]]:
    """The network as merged, and with even channels; each with its statistics."""
    seen = observed(model, recipe, work / f"{recipe.checkpoint.stem}.merged.npz")
    yield "merged", model, seen
    options = recipe.channel_wise or ChannelWise()
    even = equalize(
        model,
        place(model, PLAIN, recipe.float_layers),
        seen.tensors,
        balance=options.balance,
        least_spread=options.least_spread,
    ).model
    yield "even", even, observed(even, recipe, work / f"{recipe.checkpoint.stem}.even.npz")


def observed(model: FloatModel, recipe: Recipe, path: Path) -> CalibrationStats:
    if not path.is_file():
        refs = drawn_images(recipe.calibration)
        found, _ = observe_images(
            model, candidates(model), refs, recipe.calibration, lambda done: None
        )
        save_stats(found, path)
    return load_stats(path)


def measure(
    model: FloatModel,
    label: str,
    case: tuple[Case, CalibrationStats] | None,
    recipe: Recipe,
    arguments: argparse.Namespace,
    done: dict[str, Any],
) -> None:
    """Write, evaluate and record one model, unless it is recorded."""
    if label in done:
        return
    path = arguments.work / f"{recipe.checkpoint.stem}.onnx"
    reference = arguments.work / f"{recipe.checkpoint.stem}.float.onnx"
    save_model(write_float(model), reference)
    save_model(write_float(model), path)
    if case is not None:
        save_quantized(model, *case, recipe, path)
    options = recipe.evaluation
    if options is None:
        raise SystemExit("the recipe has no evaluation")
    with open_runner(
        arguments.backend, path, threads=arguments.threads, optimize=False, busy_cores=True
    ) as runner:
        dataset = read_dataset(options.data, options.images, names=runner.detector.names)
        found = evaluate(runner, dataset, batch=arguments.batch)
    done[label] = {
        "AP": found.metrics.ap,
        "AP50": found.metrics.ap50,
        "images": len(found.found),
        **({} if case is None else signal_to_noise(reference, path, recipe, arguments)),
        "seconds": round(found.seconds, 1),
    }
    with written_whole(arguments.results) as temporary:
        temporary.write_text(json.dumps(done, indent=1) + "\n")
    print(label, json.dumps(done[label]), flush=True)


def save_quantized(
    model: FloatModel, case: Case, stats: CalibrationStats, recipe: Recipe, path: Path
) -> None:
    target = with_grids(
        PLAIN,
        weight_bits=case.weights.bits,
        activation_bits=case.activation_bits,
        per_tensor_weights=case.weights.per_tensor,
    )
    placement = place(model, target, recipe.float_layers)
    ranges = choose_ranges(stats, placement, estimator_from(case.method))
    quantized = quantize(model, placement, ranges, WEIGHT_RANGES[case.weights.method])
    save_model(write_quantized(quantized, target), path)


def signal_to_noise(
    reference: Path, path: Path, recipe: Recipe, arguments: argparse.Namespace
) -> dict[str, float]:
    """Σ reference² over Σ difference² in dB."""
    signal, noise = dict.fromkeys(PARTS, 0.0), dict.fromkeys(PARTS, 0.0)
    settings = {"threads": arguments.threads, "optimize": False, "busy_cores": True}
    with (
        open_runner(arguments.backend, reference, **settings) as before,
        open_runner(arguments.backend, path, **settings) as after,
    ):
        detector = before.detector
        for ref in drawn_images(recipe.calibration)[:SNR_IMAGES]:
            boxed, _ = letterbox(read_image(ref.path), detector.size)
            feed = network_input([boxed], detector.preprocessing)
            wanted, got = (next(iter(run(feed).values())) for run in (before, after))
            for part, columns in PARTS.items():
                values = wanted[..., columns].astype(np.float64)
                signal[part] += float(np.square(values).sum())
                noise[part] += float(np.square(values - got[..., columns]).sum())
    return {
        f"{part}_snr_db": round(10 * log10(signal[part] / max(noise[part], 1e-30)), 2)
        for part in PARTS
    }


def setting(recipe: Recipe, arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "checkpoint": recipe.checkpoint.name,
        "size": recipe.size,
        "calibration": {
            "count": recipe.calibration.count,
            "seed": recipe.calibration.seed,
        },
        "channel_wise": msgspec.to_builtins(recipe.channel_wise or ChannelWise()),
        "target": "plain",
        "backend": arguments.backend,
        "isa": cpu_features().isa_label,
    }


if __name__ == "__main__":
    main()
