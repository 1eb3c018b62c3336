"""The layers on the page: their noise, what they read, and what stays float."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from detq.layer_error import LayerError, decibels
from detq.plan import Placement
from detq_eval.report import charts
from detq_eval.report.records import RunRecords
from detq_eval.report.tensors import density, outside, tensor_chart
from detq_eval.report.text import NOTHING, in_decibels, number, share

WORST = 6  # layers whose inputs are shown
MOST_NOISE = 60.0  # dB, the upper end of the chart: 10 bits
MOST_PARTS = 6  # that a chart has room to name


@dataclass(frozen=True, slots=True)
class WorstLayer:
    """A layer that adds much noise, with the tensor it reads."""

    node: str
    own: str
    chart: Markup | None
    facts: str


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors that share one scale."""

    range: str
    members: tuple[str, ...]


def noise_chart(run: RunRecords) -> Markup | None:
    """Signal over noise of every layer: bars with all in front rounded too, dots alone."""
    layers = run.layers.layers if run.layers is not None else ()
    if not layers:
        return None
    items = [
        charts.Column(
            layer.node,
            f"{in_decibels(decibels(layer.signal, layer.noise))} with all before it, "
            + (f"{_told_alone(layer)} alone" if layer.int8 else f"float: {layer.reason}"),
            decibels(layer.signal, layer.noise),
            None if layer.own_noise is None else _alone(layer),
            "int8" if layer.int8 else "float",
        )
        for layer in layers
    ]
    parts = parts_of([layer.node for layer in layers])
    return charts.columns(items, MOST_NOISE, range(0, 61, 10), "dB", parts)


def parts_of(names: Sequence[str]) -> list[str]:
    """First words of layer names, such as ``backbone``; empty where they tell nothing apart."""
    parts = [re.split(r"[./]", name.strip("/"))[0] for name in names]
    return parts if len(set(parts)) <= MOST_PARTS else [""] * len(parts)


def kernel_chart(run: RunRecords) -> Markup | None:
    """Centre over surround of every merged 3 x 3 kernel."""
    kernels = run.layers.kernels if run.layers is not None else ()
    if len(kernels) < 2:
        return None
    items = [
        charts.Column(
            kernel.layer,
            f"centre over surround {kernel.centre_over_surround:.2f}",
            kernel.centre_over_surround,
        )
        for kernel in kernels
    ]
    top = max(kernel.centre_over_surround for kernel in kernels) * 1.05
    step = next((s for s in (0.5, 1, 2, 5, 10, 20, 50) if top / s <= 6), 100)
    ticks = [step * n for n in range(int(top / step) + 1)]
    parts = parts_of([kernel.layer for kernel in kernels])
    return charts.columns(items, top, ticks, "ratio", parts)


def _alone(layer: LayerError) -> float:
    return decibels(layer.signal, layer.own_noise or 0.0)


def _told_alone(layer: LayerError) -> str:
    return "not measured" if layer.own_noise is None else in_decibels(_alone(layer))


def worst_layers(run: RunRecords) -> list[WorstLayer]:
    """The layers that add most noise themselves, most first."""
    if run.layers is None:
        return []
    ranges = {tensor.value: tensor for tensor in run.layers.tensors}
    seen = run.stats.tensors if run.stats is not None else {}
    judged = [layer for layer in run.layers.layers if layer.own_noise is not None]
    found = []
    for layer in sorted(judged, key=_alone)[:WORST]:
        chosen, stats = ranges.get(layer.input), seen.get(layer.input)
        chart, facts = None, "its input was not looked at"
        if chosen is not None and stats is not None:
            chart = tensor_chart(stats, chosen)
            facts = (
                f"seen {number(stats.minimum)} to {number(stats.maximum)}, "
                f"{share(outside(stats.histogram, chosen))} outside the range, "
                f"{share(density(stats.histogram).zeros)} zeros"
            )
        found.append(WorstLayer(layer.node, in_decibels(_alone(layer)), chart, facts))
    return found


def groups(run: RunRecords) -> list[Group]:
    """Tie groups of two tensors and more."""
    if run.placement is None:
        return []
    tensors = run.layers.tensors if run.layers is not None else ()
    ranges = {t.group: f"{number(t.lowest)} to {number(t.highest)}" for t in tensors}
    return [
        Group(ranges.get(name, "not recorded"), tuple(point.value for point in members))
        for name, members in run.placement.groups.items()
        if len(members) > 1
    ]


def learned_rows(run: RunRecords) -> list[tuple[str, ...]]:
    """Method, images, signal over noise before and after, what became of it, and how long."""
    return [
        (
            str(one.method.get("method", NOTHING)),
            str(one.images),
            *(
                NOTHING if x is None else in_decibels(x)
                for x in (one.snr_db_before, one.snr_db_after)
            ),
            "kept" if one.kept else "put back",
            f"{one.seconds:.0f} s",
        )
        for one in run.metrics.learned.get(run.metrics.subject.label, ())
    ]


def split_kernels(run: RunRecords) -> str:
    """What splitting kernels did, in a sentence; empty if none was to be split."""
    found = run.metrics.coarse_fine.get(run.metrics.subject.label)
    if found is None:
        return ""
    more = "" if found.extra_macs_share is None else f", {share(found.extra_macs_share)} more work"
    return f"{found.split} of {found.kernels} kernels are split into a coarse and a fine one{more}."


def float_layers(placement: Placement | None) -> Mapping[str, list[str]]:
    """Reason → names of the layers that stay float for it, the most frequent reason first."""
    found: dict[str, list[str]] = {}
    for layer in placement.layers if placement is not None else ():
        if not layer.int8:
            found.setdefault(layer.reason, []).append(layer.node)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))
