"""What it costs to leave a layer float: multiplications, and milliseconds where those are known."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from detq.errors import InputError
from detq.graph.macs import macs_of
from detq.model import FloatModel

Times: TypeAlias = Mapping[str, tuple[float | None, float | None]]  # layer → ms float, ms INT8


@dataclass(frozen=True)
class Costs:
    """Of the layers of one network on one engine.

    Attributes:
        macs_share: layer → its share of all multiplications, 0 to 1; without those of unknown
            shape.
        extra_ms: layer → how much longer it takes in float; without those not known.
        source: where ``extra_ms`` is from; empty where there is none.
        int8_ms: of the whole network with everything INT8; None where not known.
        float_ms: of the float network; None where not known.
    """

    macs_share: Mapping[str, float]
    extra_ms: Mapping[str, float]
    source: str = ""
    int8_ms: float | None = None
    float_ms: float | None = None

    def of(self, layer: str) -> float:
        """What to weigh a gain against: milliseconds where they are known, else the share."""
        if self.extra_ms:
            return max(self.extra_ms.get(layer, 0.0), 0.0)
        return self.macs_share.get(layer, 0.0)

    def macs_of(self, layers: Collection[str]) -> float:
        """Share of the multiplications of some layers, 0 to 1."""
        return sum(self.macs_share.get(layer, 0.0) for layer in layers)

    def latency_ms(self, layers: Collection[str]) -> float | None:
        """Predicted, with some layers float; None where the times are not known."""
        if self.int8_ms is None:
            return None
        return self.int8_ms + sum(self.extra_ms.get(layer, 0.0) for layer in layers)


def macs_shares(model: FloatModel) -> Mapping[str, float]:
    """Convolution → its share of the network's multiplications."""
    nodes = [n for n in model.graph.graph if n.op_type in ("Conv", "ConvTranspose")]
    known = {str(node.name): count for node in nodes if (count := macs_of(node)) is not None}
    total = max(sum(known.values()), 1)
    return {name: count / total for name, count in known.items()}


def costs_by_macs(model: FloatModel) -> Costs:
    """Nothing was timed."""
    return Costs(macs_shares(model), {})


def costs_from_totals(
    model: FloatModel, int8: Collection[str], float_ms: float, int8_ms: float, engine: str
) -> Costs:
    """The time that INT8 saves, shared out by multiplications.

    Args:
        model: float and merged.
        int8: layers that are INT8 in the model that takes ``int8_ms``.
        float_ms: of the float model.
        int8_ms: of the quantized one, on the same engine.
        engine: its name.
    """
    shares = macs_shares(model)
    held = sum(shares.get(layer, 0.0) for layer in int8)
    saved = float_ms - int8_ms
    extra = {layer: saved * shares[layer] / held for layer in int8 if layer in shares}
    return Costs(shares, extra, f"time of {engine}, shared by MACs", int8_ms, float_ms)


def costs_from_profile(
    model: FloatModel, times: Times, int8_ms: float | None, float_ms: float | None, where: str
) -> Costs:
    """What an engine took for every layer.

    Args:
        model: float and merged.
        times: of its layers.
        int8_ms: of the whole quantized network; None where not known.
        float_ms: of the whole float network; None where not known.
        where: the profile's name.

    Raises:
        InputError: it is the profile of another network.
    """
    shares = macs_shares(model)
    if missing := [layer for layer in shares if layer not in times]:
        raise InputError(
            f"is a profile of another model: it has {len(times)} layers, such as "
            f"{next(iter(times), 'none')}, and the model has {len(shares)}, such as {missing[0]}",
            where=where,
            hint="make one of this model with: detq bench FLOAT INT8 --profile FILE",
        )
    extra = {
        layer: as_float - as_int8
        for layer in shares
        for as_float, as_int8 in [times[layer]]
        if as_float is not None and as_int8 is not None
    }
    return Costs(shares, extra, f"profile {where}", int8_ms, float_ms)
