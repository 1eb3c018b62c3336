"""A checkpoint of the layout of YOLOv6 0.4 N that has learned to find coloured rectangles.

Trained where it is needed, in a few seconds, so that every clone can run the whole chain.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tests.tiny_dataset import NAMES, SIZE, draw_scene
from tools.train.network import STRIDES, Layout, Model, cell_centres, recorded

LAYOUT = Layout(width=8, backbone=(1, 2, 1, 1), neck=1)
STEPS, BATCH, RATE = 120, 8, 2e-2
NEAR = 0.75  # cells from a box' centre that must find it


def tiny_checkpoint(path: Path) -> Path:
    """Write the trained network as the official code leaves it after a training."""
    content = {
        "model": trained().half(), "ema": None, "updates": None, "optimizer": None,
        "scheduler": {}, "epoch": 29, "results": [0.5, 0.25],
    }  # fmt: skip
    with recorded():
        torch.save(content, path)
    trained().float()
    return path


@cache
def trained() -> Model:
    """The same network every time; its weights are those of half precision."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _train(Model(LAYOUT, NAMES), np.random.default_rng(1))
    torch.set_num_threads(threads)
    return model.eval().half().float()


def _train(model: Model, rng: np.random.Generator) -> Model:
    for of_class, of_box in zip(model.detect.cls_preds, model.detect.reg_preds, strict=True):
        torch.nn.init.constant_(of_class.bias, -3.0)
        torch.nn.init.constant_(of_box.bias, 1.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS)
    for _ in range(STEPS):
        images, wanted, boxes = _batch(rng)
        loss = _loss(*model(images), wanted, boxes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


def _batch(rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Images, wanted scores [N, L, classes] and boxes [N, L, 4] (where a score is 1)."""
    points, steps = _cells()
    wanted = torch.zeros(BATCH, len(points), len(NAMES))
    boxes = torch.zeros(BATCH, len(points), 4)
    scenes = [draw_scene(rng, *SIZE) for _ in range(BATCH)]
    for row, (_, found) in enumerate(scenes):
        for *corners, label in found:
            box = torch.tensor(corners, dtype=torch.float32)
            cells = ((points - (box[:2] + box[2:]) / 2) / steps).abs().amax(1)
            wanted[row, cells <= NEAR, label] = 1
            boxes[row, cells <= NEAR] = box
    # Not a view in the order of the pixels: some builds of torch crash on its gradient.
    images = np.stack([image for image, _ in scenes]).transpose(0, 3, 1, 2)
    return torch.tensor(np.ascontiguousarray(images)) / 255, wanted, boxes


def _loss(scores: Tensor, found: Tensor, wanted: Tensor, boxes: Tensor) -> Tensor:
    on = wanted.sum(2) > 0
    steps = _cells()[1].expand(BATCH, -1, 1)[on]
    off = functional.smooth_l1_loss(found[on] / steps, boxes[on] / steps, beta=0.2)
    near = torch.minimum(found[on], boxes[on])
    far = torch.maximum(found[on], boxes[on])
    shared = (near[:, 2:] - far[:, :2]).clamp(min=0).prod(1)
    both = (_area(found[on]) + _area(boxes[on]) - shared).clamp(min=1)
    classes = functional.binary_cross_entropy_with_logits(scores, wanted, reduction="sum")
    return classes / on.sum() + 2 * off + (1 - shared / both).mean()


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)


@cache
def _cells() -> tuple[Tensor, Tensor]:
    """Centres in pixels [L, 2] and strides [L, 1] of all cells of all levels."""
    sizes = [(SIZE[0] // stride, SIZE[1] // stride) for stride in STRIDES]
    centres = [cell_centres(*size, stride) for size, stride in zip(sizes, STRIDES, strict=True)]
    steps = [torch.full((1, c.shape[1]), s) for c, s in zip(centres, STRIDES, strict=True)]
    return torch.cat(centres, 1).T, torch.cat(steps, 1).T
