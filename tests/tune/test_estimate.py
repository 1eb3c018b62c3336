import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="gradients are torch's")

from detq.plan import Placement
from detq.tune.estimate import Estimates, estimate, scales_in
from detq.tune.mixed import Choice, Mixed
from tests.steps import images, merged
from tests.tune.networks import NAMES, feed, in_both_forms, kept_placement, noise

COUNT = 32
NOISY = 2.2  # dB: three times what 32 random vectors leave


def db(value: float) -> float:
    return 10 * math.log10(max(value, 1e-20))


def estimated(name: str, **options: object) -> tuple[Mixed, Estimates]:
    model, quantized, mixed = in_both_forms(name)
    batches = [image[None] for image in images(model, COUNT)]
    return mixed, estimate(mixed, scales_in(quantized.graph), batches, **options)  # type: ignore[arg-type]


def run(name: str, mixed: Mixed, choice: Choice) -> float:
    feeds = feed(merged(name), mixed, COUNT)
    wanted = mixed.run(mixed.program(Choice(), mixed.heads), feeds)
    return noise(wanted, mixed.run(mixed.program(choice, mixed.heads), feeds))


@pytest.mark.parametrize("name", NAMES)
def test_estimates_are_what_a_run_shows(name: str) -> None:
    mixed, found = estimated(name)
    assert found.images == COUNT
    assert found.head == pytest.approx(run(name, mixed, mixed.everything), rel=1e-3)
    assert [layer.node for layer in found.layers] == [layer.node for layer in mixed.layers]
    for layer in found.layers:
        wanted = run(name, mixed, mixed.alone(layer.node))
        if wanted > 1e-12:
            assert db(layer.passed) == pytest.approx(db(wanted), abs=NOISY), layer.node
    for group in found.groups:
        wanted = run(name, mixed, mixed.group(group.group))
        if wanted > 1e-12:
            assert db(group.passed) == pytest.approx(db(wanted), abs=NOISY), group.group


@pytest.mark.parametrize("name", NAMES)
def test_leaving_a_layer_out_is_estimated_to_the_gain(name: str) -> None:
    mixed, found = estimated(name)
    for layer in found.layers:
        kept = kept_placement(name, layer.node)
        assert isinstance(kept, Placement)
        wanted = run(name, mixed, mixed.without([layer.node], kept))
        # Three times the deviation that 32 random vectors leave in what the layer passes on.
        allowed = 0.75 * layer.passed + 1e-3 * found.head
        assert layer.without == pytest.approx(wanted, abs=allowed), layer.node


def test_own_noise_is_that_of_the_layers_output() -> None:
    from detq.layer_error import layer_errors

    model, quantized, _ = in_both_forms("residual")
    _, found = estimated("residual")
    wanted = layer_errors(model, quantized.graph, quantized.placement, [images(model, COUNT)])
    of = {layer.node: layer for layer in wanted}
    for layer in found.layers:
        one = of[layer.node]
        assert one.own_noise is not None
        assert layer.own == pytest.approx(one.own_noise / one.signal, rel=1e-3)


def test_another_scale_of_a_group_is_told_beside_its_own() -> None:
    model, quantized, mixed = in_both_forms("repvgg")
    scales = scales_in(quantized.graph)
    group = next(iter(quantized.placement.groups))
    scale = scales[quantized.placement.groups[group][0].value]
    methods = {group: {"same": scale, "coarse": 8 * scale}}
    found = estimate(mixed, scales, [x[None] for x in images(model, 8)], methods)
    by_method = found.groups[0].by_method
    assert by_method["same"] == pytest.approx(found.groups[0].passed, rel=1e-9)
    assert by_method["coarse"] > 8 * by_method["same"]


def test_the_same_seed_gives_the_same_figures_and_batches_do_not_matter() -> None:
    model, quantized, mixed = in_both_forms("repvgg")
    scales, given = scales_in(quantized.graph), images(model, 8)
    one = estimate(mixed, scales, [given[:4], given[4:]])
    two = estimate(mixed, scales, [given[:4], given[4:]])
    assert one == two
    other = estimate(mixed, scales, [given[:4], given[4:]], seed=1)
    assert other.layers[0].passed != one.layers[0].passed
    alone = estimate(mixed, scales, [image[None] for image in given])
    assert alone.head == pytest.approx(one.head, rel=1e-6)
    assert np.isfinite(alone.head)
