"""What sensitivity is told as."""

from collections.abc import Mapping

import msgspec

from detq.layer_error import decibels


class LayerSensitivity(msgspec.Struct, frozen=True, kw_only=True):
    """One INT8 layer.

    Noise is relative to the signal, both as powers. At the head it is the mean over images and
    over what decoding reads (class logits, distances).

    Attributes:
        node: its name.
        operator: ONNX operator.
        own: noise of its output, if it alone is INT8.
        passed: noise at the head then.
        without: noise at the head if it alone is float and everything else INT8.
        macs_share: of all multiplications of the network, 0 to 1; None where not known.
        cost_ms: what it takes longer in float; None where not known.
    """

    node: str
    operator: str
    own: float
    passed: float
    without: float
    macs_share: float | None = None
    cost_ms: float | None = None


class GroupSensitivity(msgspec.Struct, frozen=True, kw_only=True):
    """The tensors that share one scale, with all weights float.

    Attributes:
        group: name of the tie group.
        members: number of tensors.
        own: noise of the tensors themselves, relative to their signal.
        passed: noise at the head.
        by_method: range method → noise at the head with its range.
    """

    group: str
    members: int
    own: float
    passed: float
    by_method: Mapping[str, float] = {}


class Confirmed(msgspec.Struct, frozen=True, kw_only=True):
    """A choice that was run, not estimated.

    Attributes:
        what: ``all`` (everything INT8), ``alone`` or ``without``.
        node: the layer; empty for ``all``.
        head: noise at the head.
        estimate: what was estimated; None for ``all``, which is never estimated.
        agreement: AP of its boxes with the float network's as the truth, 0 to 1; None if that was
            not looked at.
    """

    what: str
    node: str
    head: float
    estimate: float | None = None
    agreement: float | None = None


class Sensitivity(msgspec.Struct, frozen=True, kw_only=True):
    """All layers and tie groups of one INT8 file.

    Attributes:
        file: of the quantized model.
        images: that it was taken from; no labels are read.
        head: noise at the head with everything INT8.
        layers: in the order of the graph.
        groups: in the order of the graph.
        confirmed: choices that were run.
        cost_source: where ``cost_ms`` is from; empty where there is none.
        cpu_seconds: processor time of it all.
    """

    file: str
    images: int
    head: float
    layers: tuple[LayerSensitivity, ...]
    groups: tuple[GroupSensitivity, ...]
    confirmed: tuple[Confirmed, ...] = ()
    cost_source: str = ""
    cpu_seconds: float = 0.0


def snr_db(noise: float) -> float:
    """Noise relative to the signal as signal over noise in dB; infinite without noise."""
    return decibels(1.0, noise)


def worst_alone(found: Sensitivity, count: int) -> list[LayerSensitivity]:
    """Layers that pass on most noise by themselves, most first."""
    return sorted(found.layers, key=lambda layer: -layer.passed)[:count]


def most_gained(found: Sensitivity, count: int) -> list[LayerSensitivity]:
    """Layers whose float form takes most noise from the head, most first."""
    return sorted(found.layers, key=lambda layer: layer.without)[:count]
