"""A small network in both forms, with what runs of it come to."""

import numpy as np
import torch
from torch import Tensor

from detq.graph.execute import compile_slice, execute, parameters
from detq.model import FloatModel
from detq.placement import place
from detq.quantized import QuantizedModel
from detq.target import PLAIN, Target
from detq.tune.mixed import Mixed
from tests.steps import images, merged, quantized

NAMES = ("repvgg", "residual", "upsample", "lite")


def in_both_forms(name: str, target: Target = PLAIN) -> tuple[FloatModel, QuantizedModel, Mixed]:
    model = merged(name)
    found = quantized(model, target)
    return model, found, Mixed(model, found.graph, found.placement)


def feed(model: FloatModel, mixed: Mixed, count: int = 4) -> dict[str, Tensor]:
    return {mixed.feed: torch.from_numpy(images(model, count))}


def run_file(graph: object, feeds: dict[str, Tensor]) -> dict[str, Tensor]:
    program = compile_slice(graph, list(feeds))  # type: ignore[arg-type]
    with torch.inference_mode():
        return execute(program, feeds, parameters(program))


def with_float(name: str, layer: str, target: Target = PLAIN) -> QuantizedModel:
    """The network as a recipe makes it that leaves one layer float."""
    return quantized(merged(name), target, {layer: "a try"})


def noise(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> float:
    """Mean over images and outputs of noise over signal, written plainly."""
    ratios = []
    for name, tensor in wanted.items():
        for one, other in zip(tensor.double(), found[name].double(), strict=True):
            ratios.append(float(((other - one) ** 2).sum() / (one**2).sum()))
    return float(np.mean(ratios))


def kept_placement(name: str, layer: str, target: Target = PLAIN) -> object:
    return place(merged(name), target, {layer: "a try"})
