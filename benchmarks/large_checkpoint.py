"""Time and memory of reading, merging and writing a checkpoint of the size of YOLOv6-L.

    python benchmarks/large_checkpoint.py data/fixtures/v4_l.pt --output large.json

A small checkpoint with the blocks of L is made as deep as L and as wide as its parameters ask
for, with random weights, and saved by torch. Then, on one thread, each step is timed in a
process of its own that does no more than ``detq export`` does.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from detq.torch_file.module import Module
from detq_deploy.cpu import cpu_features
from yolov6_adapter import read_checkpoint

PARAMETERS = 59_600_000  # of YOLOv6-L, branches apart
# Bottlenecks in a row; the ones of the neck have another name each and are as many.
DEPTHS = {"ERBlock_2": 3, "ERBlock_3": 6, "ERBlock_4": 9, "ERBlock_5": 3}
NECK_DEPTH = 6
SIZE = (640, 640)
IMAGE_CHANNELS = 3
PLAIN = (bool, int, float, str, np.ndarray, type(None))
ClassOf = Callable[[str], type[nn.Module]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("like", type=Path, nargs="?")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.pt"
        width, parameters = write_large(arguments.like, path)
        program = [sys.executable, __file__, "--measure", str(path)]
        done = subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True)
        cpu = cpu_features()
        figures = {"parameters": parameters, "times_as_wide": width, "cpu": cpu.model,
                   "isa": cpu.isa, "threads": 1, **json.loads(done.stdout)}  # fmt: skip
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")


def measure(path: Path) -> dict[str, Any]:
    """Seconds of each step, and the most memory of them all."""
    from detq.cli.sources import merged, read_source
    from detq.dialects import write_float
    from detq.graph.files import save_model

    torch.set_num_threads(1)
    marks = [time.perf_counter()]
    source = read_source(path, SIZE)
    marks.append(time.perf_counter())
    model = merged(source)
    marks.append(time.perf_counter())
    save_model(write_float(model), path.with_suffix(".onnx"))
    marks.append(time.perf_counter())
    read, merge, write = (round(b - a, 2) for a, b in pairwise(marks))
    status = Path("/proc/self/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    layers = sum(node.op_type in ("Conv", "ConvTranspose") for node in model.graph.graph)
    return {"file_mb": path.stat().st_size // 10**6, "onnx_mb":
            path.with_suffix(".onnx").stat().st_size // 10**6, "layers_merged": layers,
            "read_s": read, "merge_s": merge, "write_s": write,
            "total_s": round(marks[-1] - marks[0], 2), "peak_mb": int(peak) // 1000}  # fmt: skip


def write_large(like: Path, path: Path) -> tuple[int, int]:
    """A training checkpoint, model and averaged weights; how much wider, and its parameters."""
    root = deepened(read_checkpoint(like).root)
    width = next(n for n in count(1) if parameters_of(widened(root, n)) >= PARAMETERS)
    large = widened(root, width)
    with classes() as class_of:
        network = torch_module(large, class_of, np.random.default_rng(0)).half()
        averaged = deepcopy(network)
        torch.save({"model": network, "ema": averaged, "epoch": 299, "optimizer": None}, path)
    return width, parameters_of(large)


def deepened(m: Module, depth: int = NECK_DEPTH) -> Module:
    """As many bottlenecks in every row of them as L has."""
    depth = DEPTHS.get(m.key, depth)
    if m.name != "RepBlock":
        return replace(m, children={k: deepened(c, depth) for k, c in m.children.items()})
    first = m.child("conv1")
    rest = Module("torch.nn.modules.container.Sequential", f"{m.path}.block", {"training": False},
                  {}, {str(i): first for i in range(depth - 1)})  # fmt: skip
    attributes = {name: value for name, value in m.attributes.items() if name != "block"}
    return replace(m, attributes=attributes, children={"conv1": first, "block": rest})


def widened(m: Module, times: int, *, fixed: bool = False) -> Module:
    """All channels but those of images, predictions and bins ``times`` as many."""
    fixed = fixed or m.key.endswith("preds")
    if m.key == "proj_conv":
        return m
    arrays = {
        name: np.broadcast_to(np.float32(0), _wider(array.shape, times, fixed))
        for name, array in m.arrays.items()
    }
    children = {k: widened(c, times, fixed=fixed) for k, c in m.children.items()}
    return replace(m, arrays=arrays, children=children)


def _wider(shape: tuple[int, ...], times: int, fixed: bool) -> tuple[int, ...]:
    if not shape:
        return shape
    outputs = shape[0] if fixed or shape == (1,) else shape[0] * times
    if len(shape) < 2:
        return (outputs,)
    inputs = shape[1] if shape[1] == IMAGE_CHANNELS else shape[1] * times
    return (outputs, inputs, *shape[2:])


def parameters_of(m: Module) -> int:
    own = sum(a.size for name, a in m.arrays.items() if name in ("weight", "bias", "alpha"))
    return own + sum(map(parameters_of, m.children.values()))


@contextmanager
def classes() -> Iterator[ClassOf]:
    """Classes of the names that the records have, which torch.save looks up by name."""
    before = set(sys.modules)

    def class_of(kind: str) -> type[nn.Module]:
        parts = kind.split(".")
        names = [".".join(parts[:end]) for end in range(1, len(parts))]
        for name in names:
            sys.modules.setdefault(name, ModuleType(name))
        home = sys.modules[names[-1]]
        if not hasattr(home, parts[-1]):
            made = type(parts[-1], (nn.Module,), {"__module__": names[-1]})
            setattr(home, parts[-1], made)
        found: type[nn.Module] = getattr(home, parts[-1])
        return found

    try:
        yield class_of
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]


def torch_module(m: Module, class_of: ClassOf, rng: np.random.Generator) -> nn.Module:
    """A record as an object of its class, with random weights that keep values in range."""
    kind = class_of(m.kind)
    made = kind.__new__(kind)
    nn.Module.__init__(made)
    for name, value in m.attributes.items():
        parts = value if isinstance(value, (tuple, list)) else [value]
        if not all(isinstance(part, PLAIN) for part in parts):
            continue
        setattr(made, name, torch.tensor(value) if isinstance(value, np.ndarray) else value)
    for name, array in m.arrays.items():
        tensor = torch.from_numpy(_random(name, array, rng))
        if name in ("weight", "bias", "alpha"):
            made.register_parameter(name, nn.Parameter(tensor, requires_grad=False))
        else:
            made.register_buffer(name, tensor)
    for name, child in m.children.items():
        made.add_module(name, torch_module(child, class_of, rng))
    return made


def _random(name: str, array: Any, rng: np.random.Generator) -> Any:
    if name == "running_var" or (name == "weight" and array.ndim == 1):
        return rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
    numbers = rng.standard_normal(array.shape, np.float32)
    return np.asarray(numbers / np.sqrt(np.float32(np.prod(array.shape[1:]))), np.float32)


if __name__ == "__main__":
    main()
