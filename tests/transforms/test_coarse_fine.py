import numpy as np
import pytest

from detq.errors import NotEquivalentError
from detq.numerics import WEIGHTS, quantize, scale_from_range
from detq.placement import place
from detq.target import PLAIN
from detq.transforms import coarse_fine, transform
from detq.transforms.coarse_fine import coarse_and_fine, split_coarse_fine, surround_gain_db
from tests.zoo import ZOO


def kernel(ratio, seed=0):
    weight = np.random.default_rng(seed).standard_normal((64, 64, 3, 3))
    weight[:, :, 1, 1] *= ratio
    return weight.astype(np.float32)


def rounded(weight):
    scale = scale_from_range(np.abs(weight).max(axis=(1, 2, 3), keepdims=True), WEIGHTS)
    return quantize(weight, scale, WEIGHTS) * scale


def snr_db(wanted, found):
    return 10 * np.log10(np.square(wanted).sum() / np.square(wanted - found).sum())


# Signal over rounding error, whole kernel: plain and split, one scale per output channel.
@pytest.mark.parametrize(
    ("ratio", "plain", "split"),
    [
        (1, 42.32, 42.59),
        (2, 39.55, 43.55),
        (4, 36.51, 46.62),
        (8, 35.23, 51.36),
        (16, 34.87, 57.01),
        (32, 34.74, 62.92),
    ],
)
def test_signal_to_noise_as_worked_out_apart(ratio, plain, split):
    weight = kernel(ratio)
    coarse, fine = coarse_and_fine(weight)
    both = rounded(fine)
    both[:, :, 1, 1] += rounded(coarse)[:, :, 0, 0]
    assert snr_db(weight, rounded(weight)) == pytest.approx(plain, abs=0.05)
    assert snr_db(weight, both) == pytest.approx(split, abs=0.05)


def test_surround_keeps_its_precision_at_every_ratio():
    for ratio in (1, 4, 32):
        weight = kernel(ratio)
        _, fine = coarse_and_fine(weight)
        around = np.delete(weight.reshape(64, 64, 9), 4, axis=2)
        kept = np.delete(rounded(fine).reshape(64, 64, 9), 4, axis=2)
        assert snr_db(around, kept) == pytest.approx(42.41, abs=0.05)


def test_coarse_part_is_exact_on_its_own_grid():
    coarse, _ = coarse_and_fine(kernel(16))
    np.testing.assert_array_equal(rounded(coarse), coarse)


def test_gain_grows_with_the_centre_and_is_nothing_without_a_surround():
    gains = [surround_gain_db(kernel(ratio)) for ratio in (1, 2, 8, 32)]
    assert gains == sorted(gains)
    assert gains[0] < 1 < 20 < gains[-1]
    lonely = kernel(4)
    lonely[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
    assert surround_gain_db(lonely) == 0


@pytest.fixture
def merged():
    pytest.importorskip("torch", reason="merging checks itself in torch")
    return transform(ZOO["repvgg"](), ["reparameterize", "fold_bn"])


def operators(model):
    return [node.op_type for node in model.graph.graph]


def test_graph_computes_the_same_and_the_argument_is_left_alone(merged, monkeypatch):
    torch = pytest.importorskip("torch", reason="runs the graph")
    from detq.graph.execute import compile_slice, execute, parameters

    monkeypatch.setattr(coarse_fine, "LEAST_GAIN_DB", -100)
    before = operators(merged)
    split = split_coarse_fine(merged)
    assert operators(merged) == before
    assert operators(split).count("Conv") > before.count("Conv")

    def run(model):
        graph = model.graph.graph
        program = compile_slice(graph, ["images"])
        feed = torch.randn(2, 3, *model.detector.size, generator=torch.Generator().manual_seed(0))
        return execute(program, {"images": feed}, parameters(program))

    for name, wanted in run(merged).items():
        found = run(split)[name]
        assert (found - wanted).abs().max() <= 2e-6 * wanted.abs().max()


def test_parts_share_one_rounded_input_and_their_sum_stays_float(merged, monkeypatch):
    monkeypatch.setattr(coarse_fine, "LEAST_GAIN_DB", -100)
    split = split_coarse_fine(merged)
    placement = place(split, PLAIN)
    sums = [node for node in split.graph.graph if str(node.name).endswith(".sum")]
    assert sums
    rounded_values = {point.value for point in placement.points}
    for node in sums:
        assert not {str(x.name) for x in node.inputs} & rounded_values
    assert all(layer.int8 for layer in placement.layers if layer.node.endswith(".coarse"))


def test_broken_split_is_refused(merged, monkeypatch):
    monkeypatch.setattr(coarse_fine, "LEAST_GAIN_DB", -100)
    wrong = coarse_and_fine

    def doubled(weight):
        coarse, fine = wrong(weight)
        return coarse * 2, fine

    monkeypatch.setattr(coarse_fine, "coarse_and_fine", doubled)
    with pytest.raises(NotEquivalentError, match="split_coarse_fine changed a weight"):
        split_coarse_fine(merged)
