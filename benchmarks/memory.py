"""Peak memory of an evaluation, against the number of images.

    python benchmarks/memory.py model.openvino.onnx --backend openvino \
        --data val.json --images val2017 --times 10

``detq eval`` runs twice in processes of its own: on the data set, and on one with every image
and box ``times`` times over under new ids.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--backend", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--times", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        repeated = Path(folder) / "repeated.json"
        repeated.write_text(json.dumps(repeat(json.loads(arguments.data.read_text()),
                                              arguments.times)))  # fmt: skip
        for data in (arguments.data, repeated):
            print(json.dumps(evaluate(arguments, data)))


def repeat(content: dict[str, object], times: int) -> dict[str, object]:
    """Every image and annotation ``times`` times, with ids of their own."""
    images, rows = content["images"], content["annotations"]
    assert isinstance(images, list) and isinstance(rows, list)
    step = 1 + max(image["id"] for image in images)
    row_step = 1 + max(row["id"] for row in rows)
    return content | {
        "images": [
            image | {"id": image["id"] + k * step} for k in range(times) for image in images
        ],
        "annotations": [
            row | {"id": row["id"] + k * row_step, "image_id": row["image_id"] + k * step}
            for k in range(times)
            for row in rows
        ],
    }


def evaluate(arguments: argparse.Namespace, data: Path) -> dict[str, object]:
    """Run the command; the peak is that of the largest child so far."""
    command = [
        sys.executable, "-m", "detq", "eval", str(arguments.model), "--backend",
        arguments.backend, "--data", str(data), "--images", str(arguments.images), "--json",
    ]  # fmt: skip
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(output)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"images": found["images"], "AP": found["AP"], "peak_rss_mib": round(peak, 1)}


if __name__ == "__main__":
    main()
