"""The models that tables are made on.

``person`` and ``lite`` are the test data's; ``outliers-N`` is the person model with outliers: one
channel in sixteen of every block's output 8 to 32 times as large, and that much smaller in the
weights that read it. It is what branch merging does to activations, exaggerated; the float
function is the same, which is checked in float64.
"""

from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from detq.cli.sources import merged, read_source
from detq.dialects import write_float
from detq.equalize import equalize
from detq.graph.safetensors_file import save_safetensors
from detq.graph.slices import values_by_name
from detq.model import FloatModel
from detq.placement import place
from detq.recipe import Recipe
from detq.recipe_file import read_recipe, resolve_paths
from detq.stats import stats_of
from detq.target import PLAIN

CONFIGS = Path(__file__).parent.parent / "configs"
RECIPES = {"person": "yolov6n_person.yaml", "lite": "yolov6lite_s_coco.yaml"}
OUTLIERS = "outliers-"
SHARE = 16  # one channel in so many
LEAST, MOST = 8, 32  # times as large


def base_recipe(subject: str, work: Path, threads: int) -> Recipe:
    """The recipe of a subject, for simulation alone.

    Args:
        subject: a key of ``RECIPES``, or ``outliers-`` and a seed.
        work: folder for a checkpoint that has to be made.
        threads: of torch.
    """
    kind = "person" if subject.startswith(OUTLIERS) else subject
    path = CONFIGS / RECIPES[kind]
    recipe = resolve_paths(read_recipe(path), path.parent)
    if recipe.evaluation is None:
        raise SystemExit(f"{path} has no evaluation")
    evaluation = replace(recipe.evaluation, backends=("torch",), threads=threads)
    recipe = replace(recipe, targets=("plain",), evaluation=evaluation, bench=None)
    if kind == subject:
        return recipe
    file = work / f"{subject}.safetensors"
    if not file.is_file():
        work.mkdir(parents=True, exist_ok=True)
        model = merged(read_source(recipe.checkpoint, recipe.size))
        changed = with_outliers(model, int(subject.removeprefix(OUTLIERS)))
        save_safetensors(write_float(changed), file)
    return replace(recipe, checkpoint=file)


def with_outliers(model: FloatModel, seed: int) -> FloatModel:
    """The same function with channels that stick out.

    Evening out channels does it, if told that some of them are 8 to 32 times too small: it makes
    those larger and the weights that read them smaller.
    """
    rng = np.random.default_rng(seed)
    placement = place(model, PLAIN)
    values = values_by_name(model.graph.graph)
    told = {}
    for point in placement.points:
        value = values[point.value]
        producer = value.producer()
        if value.shape is None:
            raise AssertionError(f"{point.value} has no shape")
        channels = int(str(value.shape[1]))
        behind_relu = producer is not None and producer.op_type == "Relu"
        ranges = _ranges(rng, channels) if behind_relu else np.zeros(channels)
        told[point.value] = stats_of(ranges.astype(np.float32)[None, :, None, None], point.value)
    return equalize(model, placement, told, least_spread=0.5).model


def _ranges(rng: np.random.Generator, channels: int) -> NDArray[np.float64]:
    found = np.ones(channels)
    chosen = rng.choice(channels, max(1, channels // SHARE), replace=False)
    found[chosen] = 1 / np.exp(rng.uniform(np.log(LEAST), np.log(MOST), len(chosen)))
    return found
