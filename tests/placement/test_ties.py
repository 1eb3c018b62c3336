import math

import numpy as np
import onnx_ir as ir
import pytest

from detq.observe import collect
from detq.placement import place
from detq.placement.ties import UnevenTie, uneven_ties
from detq.ranges import choose_ranges, estimator_from
from detq.recipe import MinMax
from detq.stats import CalibrationStats
from detq.target import PLAIN, Target
from detq.transforms import DEFAULT, transform
from tests.block_writer import Writer
from tests.steps import UNSIGNED, images
from tests.zoo import network


def found_in(factor: float, *, target: Target = PLAIN, read: bool = True) -> tuple[UnevenTie, ...]:
    """Two branches of a join, one of them ``factor`` times as wide; one has another reader."""

    def body(w: Writer, x: ir.Value) -> ir.Value:
        small = w.relu(w.plain_conv(x, 8, 3, name="small"))
        many = w.constant("factor", np.float32(factor))
        large = w.elementwise("Mul", small, many, name="large")
        joined = w.conv_module(w.concat([small, large]), 8, 3, name="after")
        if not read:
            return joined
        return w.elementwise("Add", joined, w.conv_module(small, 8, 3, name="other"), name="sum")

    model = transform(network(body), DEFAULT)
    placement = place(model, target)
    seen = collect(model, [point.value for point in placement.points], [images(model)])
    stats, estimate = CalibrationStats(seen, ()), estimator_from(MinMax())
    ranges = choose_ranges(stats, placement, estimate)
    return uneven_ties(model.graph.graph, placement, stats, ranges, estimate)


@pytest.mark.parametrize("target", [PLAIN, UNSIGNED])
def test_a_member_far_below_its_group(target: Target) -> None:
    (found,) = found_in(32.0, target=target)
    assert found.value == "relu" and found.group == "relu"
    assert found.bits_lost == pytest.approx(5, abs=1e-6)
    assert found.highest_of_group == pytest.approx(32 * found.highest, rel=1e-6)
    assert found.readers == ("other.conv",)


def test_where_only_the_join_reads_it_a_cut_gives_nothing() -> None:
    (found,) = found_in(8.0, read=False)
    assert found.bits_lost == pytest.approx(math.log2(8), abs=1e-6)
    assert found.readers == ()


@pytest.mark.parametrize("factor", [1.0, 3.9])
def test_small_differences_are_not_told(factor: float) -> None:
    assert found_in(factor) == ()
