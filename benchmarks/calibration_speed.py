"""What calibration costs over the bare float forward of the same images.

    python benchmarks/calibration_speed.py person.pt --size 320 --data images/ --count 64

Interleaved in one process, for each round: the forward alone, the forward with statistics of
every tensor that is rounded, and every range estimator on these. Images are read before and
kept out of the times. On cores that others use too, wall time says little: the same ratios of
processor time stand beside it, for which ``--threads 1`` keeps idle threads of the forward
from counting. Then the peak of memory above the imports, each in a process of its
own, for ``count`` images and for four times as many.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from detq.data.images import choose_images, list_images, read_image
from detq.data.letterbox import letterbox, network_input
from detq.graph.execute import compile_slice, exact_float32, execute, parameters
from detq.model import FloatModel
from detq.observe import collect
from detq.placement import place
from detq.ranges import choose_ranges, estimator_from
from detq.recipe import Entropy, Kl, MinMax, Mse, Percentile
from detq.stats import CalibrationStats
from detq.target import PLAIN
from detq.transforms import DEFAULT, transform
from detq_deploy.cpu import cpu_features
from detq_deploy.peak_memory import peak_rss_mib
from yolov6_adapter import read_checkpoint, source_from_checkpoint

METHODS = (MinMax(), Percentile(), Mse(), Entropy(), Kl())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.alone:
        print(json.dumps(peak_memory(arguments)))
        return
    result = speed(arguments)
    for count in (arguments.count, 4 * arguments.count):
        command = [sys.executable, __file__, *sys.argv[1:], "--alone", str(count)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        result[f"peak_mib_above_imports_{count}_images"] = json.loads(output)
    print(json.dumps(result, indent=1))


def speed(arguments: argparse.Namespace) -> dict[str, object]:
    model = read_model(arguments)
    images = list(batches(model, arguments, arguments.count))
    placement = place(model, PLAIN)
    values = {point.value for point in placement.points}
    forward(model, images[:1])
    found: dict[str, list[tuple[float, float, float]]] = {"wall": [], "processor": []}
    for _ in range(arguments.rounds):
        times = [now()]
        forward(model, images)
        times.append(now())
        stats = CalibrationStats(collect(model, values, images), ())
        times.append(now())
        for method in METHODS:
            choose_ranges(stats, placement, estimator_from(method))
        times.append(now())
        for clock, row in zip(found, np.diff(np.array(times), axis=0).T, strict=True):
            found[clock].append(tuple(row))
    cpu = cpu_features()
    count = sum(len(batch) for batch in images)
    return {
        "model": arguments.checkpoint.name,
        "size": arguments.size,
        "images": count,
        "batch": arguments.batch,
        "tensors": len(values),
        "tie_groups": len(placement.groups),
        "isa": cpu.isa_label,
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "rounds": arguments.rounds,
        **{clock: ratios(rows, count, len(placement.groups)) for clock, rows in found.items()},
    }


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def ratios(rows: list[tuple[float, float, float]], images: int, groups: int) -> dict[str, float]:
    """Medians over the rounds; the ratios are taken within each."""
    return {
        "forward_ms_per_image": 1e3 * median(row[0] for row in rows) / images,
        "statistics_over_forward": median(row[1] / row[0] for row in rows),
        "estimators_over_forward": median(row[2] / row[0] for row in rows),
        "all_over_forward": median((row[1] + row[2]) / row[0] for row in rows),
        "estimators_ms_per_tie_group": 1e3 * median(row[2] for row in rows) / groups,
    }


def peak_memory(arguments: argparse.Namespace) -> float:
    before = peak_rss_mib()
    model = read_model(arguments)
    placement = place(model, PLAIN)
    values = {point.value for point in placement.points}
    feeds = batches(model, arguments, arguments.alone)
    stats = CalibrationStats(collect(model, values, feeds), ())
    for method in METHODS:
        choose_ranges(stats, placement, estimator_from(method))
    return round(peak_rss_mib() - before, 1)


def read_model(arguments: argparse.Namespace) -> FloatModel:
    size = (arguments.size, arguments.size)
    return transform(source_from_checkpoint(read_checkpoint(arguments.checkpoint), size), DEFAULT)


def batches(
    model: FloatModel, arguments: argparse.Namespace, count: int
) -> Iterator[NDArray[np.float32]]:
    """``count`` images, in rounds where the folder has fewer."""
    refs = choose_images(list_images(arguments.data), count, 0)
    detector = model.detector
    for start in range(0, count, arguments.batch):
        chosen = [refs[i % len(refs)] for i in range(start, min(start + arguments.batch, count))]
        boxed = [letterbox(read_image(ref.path), detector.size)[0] for ref in chosen]
        yield network_input(boxed, detector.preprocessing)


def forward(model: FloatModel, images: list[NDArray[np.float32]]) -> None:
    """What calibration does without looking."""
    name = str(model.graph.graph.inputs[0].name)
    program = compile_slice(model.graph.graph, [name])
    params = parameters(program)
    with torch.inference_mode(), exact_float32():
        for batch in images:
            feed = torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)
            execute(program, {name: feed}, params)


if __name__ == "__main__":
    main()
