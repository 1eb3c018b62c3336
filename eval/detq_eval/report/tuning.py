"""The page of ``detq tune``: what every layer costs, and what was found for a budget."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from detq.tune.budget import Budget, Tried, best_of, front, reached
from detq.tune.records import LayerSensitivity, Sensitivity, snr_db
from detq_eval.report import charts
from detq_eval.report.layers import parts_of
from detq_eval.report.scatter import Point, scatter
from detq_eval.report.text import NOTHING, in_decibels, share

SHOWN = 400  # rows of a table


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table on the page.

    Attributes:
        name: of layer, group or point.
        cells: figures, as they are shown.
        marked: it is the one to take.
    """

    name: str
    cells: tuple[str, ...]
    marked: bool = False


def tuning_html(
    title: str,
    engine: str,
    noise: Sensitivity | None,
    tried: Sequence[Tried] | None,
    budget: Budget | None,
) -> str:
    """The page.

    Args:
        title: name of the folder.
        engine: where it was measured.
        noise: of layers and tie groups; None if that was not asked for.
        tried: recipes of a search; None if there was none.
        budget: that it was for.
    """
    from detq_eval.report.page import environment

    page = environment().get_template("tuning.html")
    judged = [one for one in tried or () if one.drop is not None]
    return page.render(
        title=title,
        engine=engine,
        noise=noise,
        head="" if noise is None else in_decibels(snr_db(noise.head)),
        chart=None if noise is None else noise_chart(noise),
        layers=[] if noise is None else [layer_row(x, noise.head) for x in noise.layers][:SHOWN],
        groups=[] if noise is None else group_rows(noise)[:SHOWN],
        confirmed=[] if noise is None else confirmed_rows(noise),
        front=front_chart(judged) if judged else None,
        points=point_rows(judged, budget) if judged else [],
        verdict=verdict(judged, budget) if judged and budget is not None else "",
    )


def noise_chart(noise: Sensitivity) -> Markup:
    """Bars: noise that a layer passes on by itself; dots: what goes when it is float."""
    parts = [_parts_of_noise(layer, noise.head) for layer in noise.layers]
    top = 1.1 * max([1e-3, *(max(pair) for pair in parts)])
    items = [
        charts.Column(
            layer.node,
            f"alone {alone:.1f} % of the noise with everything INT8, in float {gone:.1f} % less",
            alone,
            gone,
        )
        for layer, (alone, gone) in zip(noise.layers, parts, strict=True)
    ]
    step = next((s for s in (0.1, 0.5, 1, 2, 5, 10, 20, 50) if top / s <= 6), 100)
    ticks = [step * n for n in range(int(top / step) + 1)]
    return charts.columns(items, top, ticks, "%", parts_of([x.node for x in noise.layers]))


def _parts_of_noise(layer: LayerSensitivity, head: float) -> tuple[float, float]:
    """In percent of the noise at the head with everything INT8."""
    whole = max(head, 1e-30)
    return 100 * layer.passed / whole, max(100 * (head - layer.without) / whole, 0.0)


def layer_row(layer: LayerSensitivity, head: float) -> Row:
    """Own error, error passed on, head without it, share of multiplications, cost of float."""
    gain = snr_db(layer.without) - snr_db(head) if head > 0 else 0.0
    return Row(
        layer.node,
        (
            in_decibels(snr_db(layer.own)),
            in_decibels(snr_db(layer.passed)),
            f"{gain:+.2f} dB",
            NOTHING if layer.macs_share is None else share(layer.macs_share),
            NOTHING if layer.cost_ms is None else f"{layer.cost_ms:.3f} ms",
        ),
    )


def group_rows(noise: Sensitivity) -> list[Row]:
    """Tie groups, those that pass on most noise first."""
    return [
        Row(
            group.group,
            (
                str(group.members),
                in_decibels(snr_db(group.own)),
                in_decibels(snr_db(group.passed)),
                min(group.by_method, key=group.by_method.__getitem__, default=NOTHING),
            ),
        )
        for group in sorted(noise.groups, key=lambda group: -group.passed)
    ]


def confirmed_rows(noise: Sensitivity) -> list[Row]:
    """What was run."""
    words = {"all": "everything INT8", "alone": "alone INT8:", "without": "alone float:"}
    return [
        Row(
            f"{words[one.what]} {one.node}".strip(),
            (
                in_decibels(snr_db(one.head)),
                NOTHING if one.estimate is None else in_decibels(snr_db(one.estimate)),
                NOTHING if one.agreement is None else f"{100 * one.agreement:.2f}",
            ),
        )
        for one in noise.confirmed
    ]


def front_chart(tried: Sequence[Tried]) -> Markup:
    """Points lost over cost; the front is filled."""
    on_front = front(tried)
    timed = all(one.latency_ms is not None for one in tried)
    points = [
        Point(
            one.cost if timed else 100 * one.float_macs,
            one.drop or 0.0,
            f"{one.what}: drop {one.drop:.2f}",
            "int8" if one in on_front else "float",
        )
        for one in tried
    ]
    return scatter(points, "ms" if timed else "% of MACs float", "drop")


def point_rows(tried: Sequence[Tried], budget: Budget | None) -> list[Row]:
    """Everything that was fully judged; on the front or not."""
    on_front, chosen = front(tried), best_of(tried, budget) if budget is not None else None
    return [
        Row(
            one.what,
            (
                f"{100 * one.agreement:.2f}",
                NOTHING if one.ap is None else f"{100 * one.ap:.2f}",
                NOTHING if one.drop is None else f"{one.drop:.2f}",
                share(one.float_macs),
                NOTHING if one.latency_ms is None else f"{one.latency_ms:.2f} ms",
                NOTHING if one.speedup is None else f"{one.speedup:.2f}",
                "on the front" if one in on_front else "",
            ),
            one == chosen,
        )
        for one in tried
    ]


def verdict(tried: Sequence[Tried], budget: Budget) -> str:
    """The outcome in a sentence."""
    best = best_of(tried, budget)
    kept = "The budget is kept" if reached(best, budget) else "The budget cannot be kept"
    layers = f"{len(best.float_layers)} layers left float, {share(best.float_macs)} of the MACs"
    return f"{kept}: {best.drop:.2f} points lost with {layers}."
