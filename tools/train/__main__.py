"""Train a detector of YOLOv6-N's layout: ``python -m tools.train --output ckpt.pt``."""

import argparse
import sys
from pathlib import Path

import torch

from detq.errors import DetqError
from tools.train.run import run


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.train", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--data", type=Path, help="COCO file; the demo set if not given")
    parser.add_argument("--images", type=Path, help="where the images lie that it names")
    parser.add_argument("--count", type=int, default=22_000, help="images to learn from, in all")
    parser.add_argument("--size", type=int, default=224, help="side of them, pixels")
    parser.add_argument("--batch", type=int, default=12, help="of all processes")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--width", type=int, default=8, help="channels of the stem, 16 in N")
    parser.add_argument(
        "--backbone", type=int, nargs=4, default=(1, 2, 3, 1), help="repeats, 2 4 6 2 in N"
    )
    parser.add_argument("--neck", type=int, default=2, help="repeats, 4 in N")
    parser.add_argument("--every", type=int, default=50, help="steps between reports")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=1, help="processes that make images")
    parser.add_argument("--processes", type=int, default=1, help="that share every batch")
    parser.add_argument("--port", type=int, default=29531, help="on which they find each other")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0 leaves it")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        run(_arguments())
    except DetqError as error:
        sys.exit(f"train: {error}")
