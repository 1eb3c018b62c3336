"""How much of an engine's bare speed is left when a data set is evaluated.

    python benchmarks/throughput.py float.onnx model.openvino.onnx --backend openvino \
        --data val.json --images val2017 --rounds 3

One process per file. In turn, for each round: the engine alone on images prepared before, one
after the other; then the whole evaluation of the same images from their files, scoring left
out. Printed are the medians and the share, taken within each round.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from detq.data.images import list_images, read_image
from detq.data.letterbox import letterbox, network_input
from detq_deploy.backends import open_runner
from detq_deploy.cpu import cpu_features
from detq_eval.infer import InferenceOptions, infer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--backend", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measure(arguments.models[0], arguments)))
        return
    for model in arguments.models:
        command = [sys.executable, __file__, "--alone", *sys.argv[1:]]
        others = [str(other) for other in arguments.models if other != model]
        kept = [word for word in command if word not in others]
        print(subprocess.run(kept, check=True, capture_output=True, text=True).stdout, end="")


def measure(model: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """Rounds of one model in this process."""
    refs = list_images(arguments.data, arguments.images, split="val")
    bare, whole = [], []
    with open_runner(
        arguments.backend, model, threads=arguments.threads, busy_cores=True
    ) as runner:
        detector = runner.detector
        boxed = [letterbox(read_image(ref.path), detector.size)[0] for ref in refs]
        for image in boxed[:20]:
            runner(network_input([image], detector.preprocessing))
        for _ in range(arguments.rounds):
            feeds = (network_input([image], detector.preprocessing) for image in boxed)
            seconds = 0.0
            for feed in feeds:  # preparing is not timed, and kept out of memory
                started = time.perf_counter()
                runner(feed)
                seconds += time.perf_counter() - started
            bare.append(len(refs) / seconds)
            started = time.perf_counter()
            found = sum(
                len(detections) for _, detections in infer(runner, refs, InferenceOptions())
            )
            whole.append(len(refs) / (time.perf_counter() - started))
    cpu = cpu_features()
    return {
        "model": model.name,
        "engine": runner.name,
        "isa": cpu.isa_label,
        "threads": arguments.threads or cpu.usable_cores,
        "load_average": os.getloadavg()[0],
        "images": len(refs),
        "boxes": found,
        "bare_images_per_second": median(bare),
        "evaluation_images_per_second": median(whole),
        "share": median(w / b for w, b in zip(whole, bare, strict=True)),
    }


if __name__ == "__main__":
    main()
