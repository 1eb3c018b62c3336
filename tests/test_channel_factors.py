import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="merging checks itself in torch")

from detq.channel_factors import (  # noqa: E402
    SMALLEST,
    channel_factors,
    costs_nothing,
    originals,
    scaled_inputs,
    spread,
    takers,
    through,
)
from detq.graph.slices import values_by_name  # noqa: E402
from detq.placement import place  # noqa: E402
from detq.target import PLAIN  # noqa: E402
from tests.steps import merged  # noqa: E402


def parts(name):
    model = merged(name)
    return model.graph.graph, values_by_name(model.graph.graph), place(model, PLAIN)


def test_the_image_is_never_among_the_takers():
    for name in ("repvgg", "tiny_detector"):
        _, values, placement = parts(name)
        assert "images" in placement.groups
        assert "images" not in takers(values, placement)


def test_factors_go_with_the_balance():
    _, values, _ = parts("repvgg")
    value = values["stem.relu"]
    ranges = {"stem.relu": np.array([8.0, 4, 2, 1, 0.01, 0, 8, 8])}
    full = channel_factors([value], ranges, 1.0)[value]
    np.testing.assert_allclose(full, [1, 0.5, 0.25, 0.125, SMALLEST, 1, 1, 1], rtol=1e-7)
    half = channel_factors([value], ranges, 0.5)[value]
    np.testing.assert_allclose(half[:4], np.sqrt(full[:4]), rtol=1e-7)
    assert (channel_factors([value], ranges, 0.0)[value] == 1).all()


def test_the_spread_leaves_dead_channels_out():
    _, values, _ = parts("repvgg")
    value = values["stem.relu"]
    assert spread([value], {"stem.relu": np.array([8.0, 2, 2, 0, 0, 0, 0, 0])}) == 4
    assert spread([value], {"stem.relu": np.zeros(8)}) == 0


def test_a_concatenation_has_the_factors_of_its_parts():
    _, values, placement = parts("sppf")
    group = max(placement.groups, key=lambda g: len(placement.groups[g]))
    points = placement.groups[group]
    tensors = originals(points, values)
    ranges = {str(x.name): np.linspace(1, 2, int(str(x.shape[1]))) for x in tensors}
    known = channel_factors(tensors, ranges, 1.0)
    [whole] = [values[p.value] for p in points if values[p.value].producer().op_type == "Concat"]
    one = known[tensors[0]]
    np.testing.assert_array_equal(through(whole, dict(known)), np.tile(one, 4))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_scaled_weights_undo_the_factor(groups):
    import onnx_ir as ir

    from detq.graph.ops import Conv, ConvTranspose

    rng = np.random.default_rng(0)
    factor, x = rng.uniform(0.1, 1, 8), rng.standard_normal((1, 8, 5, 5))
    for operator, shape in ((Conv, (12, 8 // groups, 3, 3)), (ConvTranspose, (8, 3, 2, 2))):
        weight = rng.standard_normal(shape)
        attributes = ir.convenience.convert_attributes({"group": groups})
        node = ir.Node("", operator.__name__, [None, None], attributes)
        wanted = operator(torch.from_numpy(x), torch.from_numpy(weight), group=groups)
        found = operator(
            torch.from_numpy(x / factor[:, None, None]),
            torch.from_numpy(scaled_inputs(node, weight, factor)),
            group=groups,
        )
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_where_a_factor_costs_nothing():
    _, values, placement = parts("repvgg")
    readers = {p.value: p.consumers for p in placement.points}
    assert costs_nothing(values["stem.relu"], readers["stem.relu"])
    assert not costs_nothing(values["stem.relu"], ())  # somebody else would see it
    _, values, placement = parts("silu")
    found = {
        p.value: costs_nothing(values[p.value], p.consumers)
        for p in placement.points
        if p.value != "images"
    }
    assert found["stem.relu"]
    assert not any(free for name, free in found.items() if name != "stem.relu")
