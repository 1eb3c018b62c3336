"""The steps up to the quantized model, on random images."""

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from detq.model import FloatModel
from detq.observe import collect
from detq.placement import place
from detq.quantized import QuantizedModel, quantize
from detq.ranges import choose_ranges, estimator_from
from detq.recipe import MinMax
from detq.stats import CalibrationStats, TensorStats
from detq.target import PLAIN, Target
from detq.transforms import DEFAULT, transform
from tests.zoo import ZOO

UNSIGNED = Target("unsigned", unsigned_activations=True)


@cache  # nobody changes a model, as the tests of every step show
def merged(name: str) -> FloatModel:
    return transform(ZOO[name](), DEFAULT)


def images(model: FloatModel, count: int = 4, seed: int = 0) -> NDArray[np.float32]:
    shape = (count, 3, *model.detector.size)
    return np.random.default_rng(seed).random(shape, np.float32)


def observed(model: FloatModel, target: Target = PLAIN) -> Mapping[str, TensorStats]:
    values = [point.value for point in place(model, target).points]
    return collect(model, values, [images(model)])


def quantized(
    model: FloatModel, target: Target = PLAIN, float_layers: Mapping[str, str] | None = None
) -> QuantizedModel:
    placement = place(model, target, float_layers)
    stats = CalibrationStats(observed(model, target), ())
    return quantize(model, placement, choose_ranges(stats, placement, estimator_from(MinMax())))
