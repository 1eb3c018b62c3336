import math

import numpy as np
import pytest

from detq.errors import NotEquivalentError
from detq.numerics import Grid, quantize, scale_from_range
from detq.placement import place
from detq.target import PLAIN
from detq.transforms import coarse_fine, transform
from detq.transforms.coarse_fine import (
    coarse_and_fine,
    merged_kernels,
    split_coarse_fine,
    splittable,
    surround_snr_db,
)
from tests.zoo import ZOO

# Worked out apart from the product, in NumPy, on seed 0. Bits, ratio of centre to surround;
# signal over rounding error of the whole kernel plain and split, with one scale per tensor and
# per output channel; of the surround plain per tensor and channel, and split per channel.
TABLE = """
8  1 39.35 39.53 42.32 42.59 39.36 42.34 42.41
8  2 36.44 40.49 39.55 43.55 35.22 38.33 42.41
8  4 33.38 43.51 36.51 46.62 29.18 32.31 42.41
8  8 32.08 48.34 35.23 51.36 23.13 26.27 42.41
8 16 31.72 53.96 34.87 57.01 17.13 20.28 42.41
8 32 31.61 59.88 34.74 62.92 11.11 14.23 42.41
6  1 27.14 27.31 30.07 30.33 27.15 30.08 30.16
6  2 24.15 28.27 27.30 31.30 22.93 26.07 30.16
6  4 21.13 31.29 24.28 34.37 16.93 20.07 30.16
6  8 19.85 36.13 22.98 39.12 10.90 14.02 30.16
6 16 19.47 41.73 22.59 44.76  4.88  7.99 30.16
6 32 20.96 47.66 23.00 50.67  0.70  2.55 30.16
"""
ROWS = [tuple(float(x) for x in line.split()) for line in TABLE.split("\n") if line]
NEAR = 0.05  # dB; the table rounds halves up, the product to even


def kernel(ratio, seed=0):
    weight = np.random.default_rng(seed).standard_normal((64, 64, 3, 3))
    weight[:, :, 1, 1] *= ratio
    return weight.astype(np.float32)


def rounded(weight, grid, per_tensor):
    axes = None if per_tensor else (1, 2, 3)
    scale = scale_from_range(np.abs(weight).max(axis=axes, keepdims=True), grid)
    return quantize(weight, scale, grid) * scale


def snr_db(wanted, found):
    return 10 * np.log10(np.square(wanted).sum() / np.square(wanted - found).sum())


@pytest.mark.parametrize(
    ("bits", "ratio", "whole", "split", "per_tensor"),
    [(row[0], row[1], row[2], row[3], True) for row in ROWS]
    + [(row[0], row[1], row[4], row[5], False) for row in ROWS],
)
def test_signal_to_noise_as_worked_out_apart(bits, ratio, whole, split, per_tensor):
    grid, weight = Grid(int(bits), narrow=True), kernel(ratio)
    coarse, fine = coarse_and_fine(weight, grid, per_tensor=per_tensor)
    both = rounded(fine, grid, per_tensor)
    both[:, :, 1, 1] += rounded(coarse, grid, per_tensor)[:, :, 0, 0]
    assert snr_db(weight, rounded(weight, grid, per_tensor)) == pytest.approx(whole, abs=NEAR)
    assert snr_db(weight, both) == pytest.approx(split, abs=NEAR)


@pytest.mark.parametrize(("bits", "ratio", "tensor", "channel", "split"),
                         [(row[0], row[1], *row[6:]) for row in ROWS])  # fmt: skip
def test_surround_as_worked_out_apart(bits, ratio, tensor, channel, split):
    grid, weight = Grid(int(bits), narrow=True), kernel(ratio)
    assert surround_snr_db(weight, grid) == pytest.approx((channel, split), abs=NEAR)
    assert surround_snr_db(weight, grid, per_tensor=True)[0] == pytest.approx(tensor, abs=NEAR)


def test_one_large_tap_of_an_identity_branch():
    for ratio, whole, split in ((8, 35.12, 42.91), (32, 27.20, 46.86)):
        weight = np.random.default_rng(0).standard_normal((64, 64, 3, 3))
        weight[range(64), range(64), 1, 1] += ratio
        weight = weight.astype(np.float32)
        coarse, fine = coarse_and_fine(weight)
        both = rounded(fine, Grid(narrow=True), False)
        both[:, :, 1, 1] += coarse[:, :, 0, 0]
        assert snr_db(weight, rounded(weight, Grid(narrow=True), False)) == pytest.approx(
            whole, abs=NEAR
        )
        assert snr_db(weight, both) == pytest.approx(split, abs=NEAR)


@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("bits", [4, 6, 7, 8])
def test_coarse_part_is_exact_on_its_own_grid(bits, per_tensor):
    grid = Grid(bits, narrow=True)
    coarse, _ = coarse_and_fine(kernel(16), grid, per_tensor=per_tensor)
    np.testing.assert_array_equal(rounded(coarse, grid, per_tensor), coarse)


def test_a_kernel_without_a_surround_or_a_centre():
    lonely = kernel(4)
    lonely[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
    assert surround_snr_db(lonely) == (math.inf, math.inf)
    hollow = kernel(0)
    before, after = surround_snr_db(hollow)
    assert after == pytest.approx(before, abs=1e-9)
    assert not coarse_and_fine(np.zeros((4, 4, 3, 3), np.float32))[0].any()


@pytest.fixture
def merged():
    pytest.importorskip("torch", reason="merging checks itself in torch")
    return transform(ZOO["repvgg"](), ["reparameterize", "fold_bn"])


def operators(model):
    return [node.op_type for node in model.graph.graph]


def test_kernels_that_branches_were_merged_into_are_known(merged):
    assert set(splittable(merged)) == {"stem.conv", "block.conv"}
    assert merged_kernels(merged) == {"block.conv"}


def test_a_network_without_branches_may_have_been_merged_before():
    pytest.importorskip("torch", reason="merging checks itself in torch")
    plain = transform(ZOO["conv_bn"](), ["reparameterize", "fold_bn"])
    assert merged_kernels(plain) == set(splittable(plain)) != set()


def test_graph_computes_the_same_and_the_argument_is_left_alone(merged):
    torch = pytest.importorskip("torch", reason="runs the graph")
    from detq.graph.execute import compile_slice, execute, parameters

    before = operators(merged)
    split = split_coarse_fine(merged, splittable(merged))
    assert operators(merged) == before
    assert operators(split).count("Conv") == before.count("Conv") + 2

    def run(model):
        graph = model.graph.graph
        names = ["block.conv", str(graph.outputs[0].name)]
        program = compile_slice(graph, ["images"], names)
        feed = torch.randn(2, 3, *model.detector.size, generator=torch.Generator().manual_seed(0))
        return execute(program, {"images": feed}, parameters(program))

    for name, wanted in run(merged).items():  # the sum bears the name of the layer's output
        found = run(split)[name]
        assert (found - wanted).abs().max() <= 2e-6 * wanted.abs().max()


def test_a_split_kernel_is_not_split_again(merged):
    split = split_coarse_fine(merged, splittable(merged))
    assert not splittable(split)


def test_parts_share_one_rounded_input_and_their_sum_stays_float(merged):
    split = split_coarse_fine(merged, splittable(merged))
    placement = place(split, PLAIN)
    sums = [node for node in split.graph.graph if str(node.name).endswith(".sum")]
    assert len(sums) == 2
    rounded_values = {point.value for point in placement.points}
    for node in sums:
        assert not {str(x.name) for x in node.inputs} & rounded_values
    assert all(layer.int8 for layer in placement.layers if layer.node.endswith(".coarse"))
    assert rounded_values == {point.value for point in place(merged, PLAIN).points}


def test_broken_split_is_refused(merged, monkeypatch):
    wrong = coarse_and_fine

    def doubled(weight, grid, *, per_tensor):
        coarse, fine = wrong(weight, grid, per_tensor=per_tensor)
        return coarse * 2, fine

    monkeypatch.setattr(coarse_fine, "coarse_and_fine", doubled)
    with pytest.raises(NotEquivalentError, match="coarse and fine weights differ"):
        split_coarse_fine(merged, ["block.conv"])
