import pytest

from detq.errors import InputError

pytest.importorskip("torch", reason="the zoo is merged in torch")

from detq.tune.costs import costs_by_macs, costs_from_profile, costs_from_totals, macs_shares
from tests.steps import merged

MODEL = merged("repvgg")
LAYERS = list(macs_shares(MODEL))


def test_shares_are_of_all_multiplications() -> None:
    shares = macs_shares(MODEL)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
    # 16 x 16 places: stem 3 → 8 and block 8 → 8 with 3 x 3 taps, prediction 8 → 4 with one.
    counts = [3 * 8 * 9, 8 * 8 * 9, 8 * 4]
    wanted = [count / sum(counts) for count in counts]
    assert list(shares.values()) == pytest.approx(wanted, abs=1e-12)


def test_without_a_clock_a_layer_costs_its_share() -> None:
    costs = costs_by_macs(MODEL)
    assert costs.of(LAYERS[1]) == costs.macs_share[LAYERS[1]]
    assert costs.latency_ms([]) is None


def test_saved_time_is_shared_out_among_the_int8_layers() -> None:
    costs = costs_from_totals(MODEL, LAYERS[:2], 10.0, 4.0, "an engine")
    assert sum(costs.extra_ms.values()) == pytest.approx(6, abs=1e-12)
    assert costs.extra_ms[LAYERS[1]] / costs.extra_ms[LAYERS[0]] == pytest.approx(8 / 3, abs=1e-9)
    assert costs.latency_ms(LAYERS[:2]) == pytest.approx(10, abs=1e-12)
    assert costs.of("another") == 0
    assert costs.macs_of(LAYERS) == pytest.approx(1, abs=1e-12)


def test_a_profile_tells_every_layer() -> None:
    times = {LAYERS[0]: (2.0, 0.5), LAYERS[1]: (3.0, None), LAYERS[2]: (None, None)}
    costs = costs_from_profile(MODEL, times, 1.5, 6.0, "jetson.json")
    assert costs.extra_ms == {LAYERS[0]: 1.5}
    assert costs.latency_ms([LAYERS[0]]) == pytest.approx(3, abs=1e-12)
    assert costs.source == "profile jetson.json"


def test_a_profile_of_another_model_is_refused_with_both_sides() -> None:
    with pytest.raises(InputError) as caught:
        costs_from_profile(MODEL, {"conv1": (1.0, 1.0)}, 1.0, 2.0, "jetson.json")
    text = str(caught.value)
    assert text.startswith("jetson.json: is a profile of another model")
    assert "1 layers, such as conv1" in text
    assert f"3, such as {LAYERS[0]}" in text
