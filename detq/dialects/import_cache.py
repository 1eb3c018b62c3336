"""Q/DQ from a calibration cache."""

from collections.abc import Mapping
from dataclasses import dataclass

from detq.dialects.calibration_cache import CalibrationCache
from detq.errors import CalibrationError
from detq.graph.build import CALLED
from detq.graph.slices import values_by_name
from detq.model import FloatModel
from detq.placement import place
from detq.plan import Placement
from detq.quantized import QuantizedModel, quantize
from detq.stats import Range
from detq.target import Target


@dataclass(frozen=True, slots=True)
class Imported:
    """A quantized model whose activation scales come from a cache.

    Attributes:
        model: Q/DQ graph.
        float_layers: layers left float because their input has no scale.
        unused: tensors of the cache that the network does not round, or does not have.
    """

    model: QuantizedModel
    float_layers: tuple[str, ...]
    unused: tuple[str, ...]


def quantize_by_cache(model: FloatModel, cache: CalibrationCache, target: Target) -> Imported:
    """Round the tensors that a cache has scales for; weights by their largest magnitude.

    The members of a tie group get the widest of their scales. A layer whose input has none
    stays float, as it does in TensorRT.

    Args:
        model: float and merged; a tensor goes by the name it had in the file it was read from.
        cache: scales of tensors.
        target: with signed activations.

    Raises:
        CalibrationError: the cache belongs to another network.
    """
    scales = _by_name_here(model, cache)
    left_float: dict[str, str] = {}
    while True:
        placement = place(model, target, left_float)
        without = [name for name, members in placement.groups.items()
                   if not any(point.value in scales for point in members)]  # fmt: skip
        if not without:
            break
        found = _readers(placement, without) - left_float.keys()
        if not found:
            raise CalibrationError(
                "the cache has no scale for it",
                where=without[0],
                hint="give the network that the cache was made for",
            )
        left_float |= dict.fromkeys(sorted(found), "the cache has no scale for its input")
    if not placement.points:
        raise CalibrationError(
            f"none of its {len(cache.scales)} tensors is in the network",
            where="cache",
            hint="give the network that the cache was made for",
        )
    quantized = quantize(model, placement, _ranges(placement, scales))
    rounded = {point.value for point in placement.points}
    unused = tuple(name for name in scales if name not in rounded)
    return Imported(quantized, tuple(left_float), unused)


def _by_name_here(model: FloatModel, cache: CalibrationCache) -> dict[str, float]:
    names = {
        str(value.meta.get(CALLED, name)): name
        for name, value in values_by_name(model.graph.graph).items()
    }
    return {names.get(name, name): scale for name, scale in cache.scales.items()}


def _readers(placement: Placement, groups: list[str]) -> set[str]:
    """INT8 layers that read a member of one of the groups."""
    int8 = {layer.node for layer in placement.layers if layer.int8}
    points = (point for name in groups for point in placement.groups[name])
    return {name for point in points for name in point.consumers} & int8


def _ranges(placement: Placement, scales: Mapping[str, float]) -> dict[str, Range]:
    ranges = {}
    for name, members in placement.groups.items():
        widest = max(scales[point.value] for point in members if point.value in scales)
        highest = widest * members[0].grid.highest
        ranges[name] = Range(-highest, highest)
    return ranges
