import re

import pytest

from detq.tune.budget import Budget, Tried
from detq.tune.records import Confirmed, GroupSensitivity, LayerSensitivity, Sensitivity
from detq_eval.report.tuning import layer_row, noise_chart, tuning_html, verdict

LAYERS = (
    LayerSensitivity(
        node="backbone.<stem>", operator="Conv", own=1e-4, passed=5e-4, without=6e-4,
        macs_share=0.25, cost_ms=0.125,
    ),
    LayerSensitivity(node="neck.b", operator="Conv", own=1e-5, passed=1e-4, without=1.1e-3),
)  # fmt: skip
NOISE = Sensitivity(
    file="model.plain.onnx",
    images=8,
    head=1e-3,
    layers=LAYERS,
    groups=(
        GroupSensitivity(group="a", members=1, own=1e-4, passed=1e-5),
        GroupSensitivity(
            group="b", members=3, own=1e-4, passed=1e-4, by_method={"minmax": 2.0, "mse": 1.0}
        ),
    ),
    confirmed=(Confirmed(what="alone", node="neck.b", head=1e-4, estimate=1.2e-4, agreement=0.9),),
)


def point(what: str, drop: float | None, macs: float, ms: float | None = None) -> Tried:
    return Tried(
        what=what, recipe="", float_layers=("x",) * int(100 * macs), float_macs=macs,
        agreement=0.9, ap=0.3, drop=drop, latency_ms=ms,
    )  # fmt: skip


TRIED = (point("start", 2.0, 0.0), point("quick", None, 0.0), point("some", 0.15, 0.1),
         point("worse", 0.5, 0.2))  # fmt: skip


def test_bars_and_dots_are_shares_of_the_noise() -> None:
    chart = noise_chart(NOISE)
    assert "backbone.&lt;stem&gt;\nalone 50.0 % of the noise" in chart
    assert "in float 40.0 % less" in chart
    # Leaving the other float makes it no better: its dot lies at zero, not below.
    assert "in float 0.0 % less" in chart


def test_a_layers_figures() -> None:
    row = layer_row(LAYERS[0], NOISE.head)
    assert row.cells == (
        "40.0 dB", "33.0 dB", "+2.22 dB", "25.00\N{NO-BREAK SPACE}%", "0.125 ms",
    )  # fmt: skip
    assert layer_row(LAYERS[1], NOISE.head).cells[3:] == ("\N{EN DASH}",) * 2


def test_the_page_has_both_parts_or_one() -> None:
    whole = tuning_html("run", "openvino", NOISE, TRIED, Budget(max_drop=0.2))
    assert whole.index("Accuracy against cost") < whole.index("Noise of the layers")
    assert "The budget is kept: 0.15 points lost" in whole
    assert "backbone.&lt;stem&gt;" in whole and "backbone.<stem>" not in whole
    assert whole.index('<td class="name">b</td>') < whole.index('<td class="name">a</td>')
    assert re.search(r'class="subject"><td class="name">some<', whole)
    assert "quick" not in whole
    noise_alone = tuning_html("run", "torch", NOISE, None, None)
    assert "Accuracy against cost" not in noise_alone
    assert "30.0 dB with everything INT8" in noise_alone
    assert "Noise of the layers" not in tuning_html("run", "torch", None, TRIED, Budget(max_drop=1))


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(max_drop=0.2), "The budget is kept: 0.15 points lost with 10 layers left float"),
        (Budget(max_drop=0.1), "The budget cannot be kept: 0.15 points lost"),
    ],
)
def test_the_verdict_names_the_nearest_point(budget: Budget, words: str) -> None:
    assert verdict([one for one in TRIED if one.drop is not None], budget).startswith(words)
