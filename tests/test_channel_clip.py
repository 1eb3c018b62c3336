import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="runs the graph")

from detq.channel_clip import CANDIDATES, OCTAVES, clipped_channels  # noqa: E402
from detq.channel_factors import largest_magnitudes  # noqa: E402
from detq.graph.execute import compile_slice, execute, parameters  # noqa: E402
from detq.numerics import Grid  # noqa: E402
from detq.observe import collect  # noqa: E402
from tests.reference import ranges as slow  # noqa: E402
from tests.steps import images, merged  # noqa: E402

NAMES = ["stem.relu", "block.relu"]


@pytest.mark.parametrize("bits", [4, 6])
def test_every_channel_has_the_least_error(bits):
    model, x, grid = merged("repvgg"), images(merged("repvgg"), 6), Grid(bits)
    largest = largest_magnitudes(collect(model, NAMES, [x]))
    found = clipped_channels(model, largest, grid, [x[:2], x[2:]])
    program = compile_slice(model.graph.graph, ["images"], NAMES)
    seen = execute(program, {"images": torch.from_numpy(x)}, parameters(program))
    for name in NAMES:
        for channel in np.flatnonzero(largest[name]):
            top = largest[name][channel]
            values = seen[name][:, channel].reshape(-1).double().numpy()
            tried = top * np.exp2(-np.arange(CANDIDATES) * (OCTAVES / CANDIDATES))
            errors = [slow.squared_error(values, t, grid.lowest, grid.highest) for t in tried]
            mine = slow.squared_error(values, found[name][channel], grid.lowest, grid.highest)
            assert mine <= 1.05 * min(errors) + 1e-12  # values count as spread over their bin
            assert top / 2**OCTAVES < found[name][channel] <= top


def test_an_outlier_is_clipped_and_a_dead_channel_stays_dead():
    model = merged("repvgg")
    x = images(model, 6)
    largest = largest_magnitudes(collect(model, NAMES, [x]))
    largest = {name: top.copy() for name, top in largest.items()}
    largest["stem.relu"][0] *= 6  # as if it had been seen once
    largest["stem.relu"][1] = 0
    found = clipped_channels(model, largest, Grid(), [x])
    assert found["stem.relu"][0] < largest["stem.relu"][0] / 3
    assert found["stem.relu"][1] == 0
