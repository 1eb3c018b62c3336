"""AP of files for a program that has no detq: a line of JSON in, a line of JSON out.

    python -m benchmarks.judge val.json images/

Each line on standard input is ``{"model": FILE, "images": [ids], "again": bool}``; the answer is
AP on these images, 0 to 1, and 0 where they have no true box. ``again`` says that the file is the
one of the line before, which is then not read again. Simulated: ONNX Runtime node by node.
"""

import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from detq.runner import Runner
from detq_deploy.backends import open_runner
from detq_eval.dataset import Dataset, read_dataset
from detq_eval.evaluate import evaluate
from detq_eval.truth import Truth


def main() -> None:
    truth, folder = map(Path, sys.argv[1:])
    runner: Runner | None = None
    dataset: Dataset | None = None
    stack = ExitStack()
    for line in sys.stdin:
        asked = json.loads(line)
        if runner is None or dataset is None or not asked["again"]:
            stack.close()
            file = Path(asked["model"])
            runner = stack.enter_context(
                open_runner("onnxruntime", file, threads=1, optimize=False, busy_cores=True)
            )
            dataset = read_dataset(truth, folder, names=runner.detector.names)
        some = on_images(dataset, set(asked["images"]))
        ap = evaluate(runner, some).metrics.ap if len(some.truth) else 0.0
        print(json.dumps(max(ap, 0.0)), flush=True)


def on_images(dataset: Dataset, ids: set[int | str]) -> Dataset:
    """Some images of a data set, with their boxes alone."""
    chosen = [index for index, ref in enumerate(dataset.images) if ref.id in ids]
    place = np.full(len(dataset.images), -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    truth = dataset.truth
    held = place[truth.image] >= 0
    boxes = Truth(
        place[truth.image[held]],
        truth.category[held],
        truth.boxes[held],
        truth.areas[held],
        truth.crowd[held],
    )
    return replace(dataset, images=tuple(dataset.images[i] for i in chosen), truth=boxes)


if __name__ == "__main__":
    main()
