"""Signed tensors side by side in front of a convolution: what the engines make of them.

OpenVINO 2026.4.1 adds up such a convolution wrongly on machines with VNNI and without AMX where
the tensors are stored as int8 with zero point 0; as uint8 with zero point 128 they are right.
"""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from detq.graph.build import Builder
from detq.graph.files import save_model
from detq.numerics import ACTIVATIONS, Grid, quantize, round_to_grid
from detq_deploy.backends import open_runner
from detq_deploy.cpu_targets import KERNELS, older_cpu_target

CHANNELS, SIZE = 16, 8
STEP, WEIGHT_STEP, OUT_STEP = np.float32(1 / 64), np.float32(1 / 63), np.float32(1 / 4)
Floats = NDArray[np.float32]


def shifted() -> Grid:
    (grid,) = {
        Grid(signed=True, shifted=older_cpu_target(engine).shifted_activations)
        for engine in KERNELS
    }
    return grid


def weights() -> NDArray[np.int8]:
    random = np.random.default_rng(2)
    return random.integers(-63, 64, (CHANNELS, 2 * CHANNELS, 1, 1)).astype(np.int8)


def model(grid: Grid) -> ir.Model:
    """``images`` and their negatives → Q/DQ → Concat → 1 x 1 convolution → Q/DQ."""
    shape = (1, CHANNELS, SIZE, SIZE)
    b = Builder("signed concat")
    images = b.input("images", shape)
    parts = [images, b.elementwise("Mul", images, b.constant("minus", np.float32(-0.75)))]
    joined = b.concat([_pair(b, part, STEP, grid) for part in parts])
    kernel = b.op(
        "DequantizeLinear",
        b.constant("weight", weights()),
        b.constant("weight.scale", np.full(CHANNELS, WEIGHT_STEP)),
        axis=0,
    )
    y = b.op("Conv", joined, kernel, kernel_shape=[1, 1], shape=shape)
    return b.finish({"outputs": _pair(b, y, OUT_STEP, grid)})


def _pair(b: Builder, x: ir.Value, step: np.float32, grid: Grid) -> ir.Value:
    parts = b.constant("step", step), b.constant("zero", np.full((), grid.zero_point, grid.dtype))
    codes = b.op("QuantizeLinear", x, *parts, shape=x.shape)
    codes.dtype = ir.DataType.from_numpy(grid.dtype)
    return b.op("DequantizeLinear", codes, *parts, shape=x.shape)


def plain(images: Floats) -> Floats:
    """The same in integers, with no graph."""
    parts = [quantize(x, STEP, ACTIVATIONS) for x in (images, images * np.float32(-0.75))]
    joined = np.concatenate(parts, axis=1)[0].astype(np.int64)
    sums = np.einsum("oi,ihw->ohw", weights()[:, :, 0, 0].astype(np.int64), joined)
    codes = round_to_grid(sums.astype(np.float64) * float(STEP * WEIGHT_STEP), OUT_STEP)
    rounded: Floats = (np.clip(codes, -128, 127) * OUT_STEP).astype(np.float32)[None]
    return rounded


@pytest.mark.parametrize("engine", sorted(KERNELS))
def test_signed_tensors_side_by_side_add_up(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "concat.onnx"
    save_model(model(shifted()), path)
    images = np.random.default_rng(1).uniform(-2, 2, (1, CHANNELS, SIZE, SIZE)).astype(np.float32)
    with open_runner(engine, path, threads=1) as run:
        found = run(images)["outputs"]
    wanted = plain(images)
    assert np.ptp(wanted) > 20 * OUT_STEP
    # One output step where a sum lies on the edge between two.
    np.testing.assert_allclose(found, wanted, atol=float(OUT_STEP) * 1.01)
    assert (found == wanted).mean() > 0.99
