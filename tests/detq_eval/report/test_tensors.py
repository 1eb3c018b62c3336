import numpy as np
import pytest

from detq.histogram import BINS, Histogram, count_values
from detq.layer_error import TensorRange
from detq_eval.report.tensors import density, outside


def counted(*values: float) -> Histogram:
    array = np.array(values, np.float32)
    return count_values(array, float(array.min()), float(array.max()))


def chosen(lowest: float, highest: float, scale: float = 0.01) -> TensorRange:
    return TensorRange(value="x", group="x", rule="", scale=scale, lowest=lowest, highest=highest)


def test_no_value_is_lost_when_bins_are_joined() -> None:
    values = np.random.default_rng(0).normal(0, 1, 5000).astype(np.float32)
    found = density(counted(*values), bins=40)
    assert sum(found.counts) == 5000
    assert len(found.counts) <= 40
    assert len(found.edges) == len(found.counts) + 1
    counts, _ = np.histogram(values, found.edges)
    # Bins of the negative side are open on the other end; no value lies on an edge here.
    np.testing.assert_array_equal(counts, found.counts)


@pytest.mark.parametrize("side", [1, -1])
def test_one_sided(side: int) -> None:
    found = density(counted(*(side * x for x in (0.0, 0.0, 1.0, 3.9))), bins=4)
    assert found.zeros == 0.5
    width = 1.0
    expected = [0, 1, 0, 1]
    assert found.counts == expected[::side]
    ends = [0, 4 * width] if side == 1 else [-4 * width, 0]
    assert [found.edges[0], found.edges[-1]] == ends


def test_zeros_alone() -> None:
    found = density(counted(0.0, 0.0))
    assert (found.counts, found.edges, found.zeros) == ([], [0.0], 1.0)


def test_all_values_in_the_last_bin_of_the_range() -> None:
    nothing = np.zeros(BINS, np.int64)
    full = nothing.copy()
    full[-1] = 7
    found = density(Histogram(0, full, nothing, 0), bins=8)
    assert found.counts == [0] * 7 + [7]


def test_what_lies_outside_the_range() -> None:
    seen = counted(-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 3.5)
    assert outside(seen, chosen(-2, 3.5)) == 0
    assert outside(seen, chosen(-1.5, 1.5)) == 4 / 8
    assert outside(seen, chosen(0, 3.5)) == 2 / 8
    # What is nearer to the last integer than half a step is rounded to it.
    assert outside(seen, chosen(-2, 3.0, scale=1.1)) == 0
    assert outside(seen, chosen(-2, 3.0, scale=0.9)) == 1 / 8
