"""Write small checkpoints with random weights as Ultralytics saves them, and what they compute.

    python tests/golden/make_ultralytics.py tests/golden

Needs the package (the extra ``ultralytics``), which nothing else here does: the tests read the
files. They hold random numbers, class names and the names of modules, no code and none of the
package's configurations. The networks are those of its yolov6 and yolov8 files, narrow and
shallow, and one of our own with the blocks that these have not.
"""

import argparse
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import ultralytics
from torch import nn
from ultralytics.nn.modules import Conv, RepVGGDW
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
from ultralytics.utils import IterableSimpleNamespace

CLASSES = ("crane", "heron", "stork")
SCALES = {"n": [0.17, 0.0625, 256]}  # depth, width, most channels
SIZE = (64, 96)
OWN = {
    "nc": 3,
    "backbone": [
        [-1, 1, "Conv", [8, 3, 2]],
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "RepConv", [16, 16, 3, 1]],
        [-1, 1, "RepConv", [16, 16, 3, 1, 1, 1, 1, True, True]],
        [-1, 2, "C3", [16, True]],
        [-1, 1, "Conv", [24, 3, 2]],
        [-1, 1, "SPPF", [24, 5]],
        [-1, 1, "DWConv", [24, 3, 2]],
    ],
    "head": [
        [-1, 1, "ConvTranspose", [24, 2, 2]],
        [[-1, -3], 1, "Concat", [1]],
        [-1, 1, "C2f", [16]],
        [[10, 7], 1, "Detect", ["nc"]],
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.manual_seed(0)
    write(folder, "v6_stripped", network(scaled("yolov6n.yaml")), stripped)
    write(folder, "v8_training", network(scaled("yolov8n.yaml")), in_training)
    write(folder, "v8_fused", network(scaled("yolov8n.yaml")).fuse(verbose=False), stripped)
    write(folder, "own_stripped", network(OWN), stripped)
    write(folder, "own_fused", network(OWN).fuse(verbose=False), stripped)
    torch.manual_seed(1)
    write(folder, "dw_stripped", network(OWN, RepVGGDW(24)), stripped)
    write(folder, "dw_fused", network(OWN, RepVGGDW(24)).fuse(verbose=False), stripped)


def scaled(name: str) -> dict[str, Any]:
    """One of the package's configurations with channels and repeats of our own."""
    return {**yaml_model_load(name), "nc": len(CLASSES), "scales": SCALES}


def network(config: dict[str, Any], sixth: nn.Module | None = None) -> DetectionModel:
    """With random weights; ``sixth`` stands for layer 6, where no configuration can name it."""
    model = DetectionModel(deepcopy(config), verbose=False)
    if sixth is not None:
        old = model.model[6]
        sixth.i, sixth.f, sixth.type, sixth.np = old.i, old.f, "RepVGGDW", 0
        model.model[6] = sixth
    model.names = dict(enumerate(CLASSES))
    head = model.model[-1]
    for i, branch in enumerate(head.cv2):
        inputs = branch[0].conv.in_channels
        last = nn.Conv2d(16, 4 * head.reg_max, 1)
        head.cv2[i] = nn.Sequential(Conv(inputs, 16, 3), Conv(16, 16, 3), last)
    for module in model.modules():
        randomize(module)
    name = Path(config.get("yaml_file", "own.yaml")).name
    model.yaml = {"nc": len(CLASSES), "yaml_file": name, "backbone": [], "head": []}
    model.args = IterableSimpleNamespace(imgsz=64, box=7.5, cls=0.5, dfl=1.5)
    for branch in (*head.cv2, *head.cv3):
        nn.init.normal_(branch[-1].weight, 0, 0.3)
    return settle(model)


def settle(model: DetectionModel) -> DetectionModel:
    """Statistics near those of noise, or values would grow until sigmoid hides all."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    model.train()(torch.rand(4, 3, *SIZE))
    for norm in norms:
        norm.momentum = 0.03
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.5, 2)
    return model.eval()


def randomize(module: nn.Module) -> None:
    if isinstance(module, nn.BatchNorm2d):
        nn.init.uniform_(module.weight, 0.5, 1.5)
        nn.init.normal_(module.bias, 0, 0.3)
        module.weight.data[::5] *= -1
    elif isinstance(module, nn.Conv2d) and module.weight.requires_grad:
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.normal_(module.bias, 0, 0.5)


def stripped(model: DetectionModel) -> dict[str, Any]:
    """As at the end of a training."""
    model.args = dict(vars(model.args))
    return {**common(), "epoch": -1, "model": model, "ema": None, "optimizer": None}


def in_training(model: DetectionModel) -> dict[str, Any]:
    """As between epochs; the loss has left its objects in the model."""
    model.criterion = model.init_criterion()
    state = torch.optim.SGD(model.parameters(), lr=0.01).state_dict()
    return {**common(), "epoch": 3, "model": None, "ema": model, "optimizer": state, "updates": 9}


def common() -> dict[str, Any]:
    fitness = {"fitness": np.float64(0.25)}
    return {"best_fitness": 0.25, "train_args": {"imgsz": 64}, "train_metrics": fitness,
            "version": ultralytics.__version__}  # fmt: skip


def write(folder: Path, name: str, model: DetectionModel, form: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, *SIZE), dtype=np.uint8)
    model = model.half()  # what is compared is what a file in half precision says
    with torch.no_grad():
        rows = deepcopy(model).double()(torch.from_numpy(pixels).double() / 255)[0]
    torch.save(form(model), folder / f"ultralytics_{name}.pt")
    found = rows.float().numpy()
    np.savez_compressed(folder / f"ultralytics_{name}.npz", input_u8=pixels, output=found)


if __name__ == "__main__":
    main()
