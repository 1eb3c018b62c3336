"""Does OpenVINO add up a convolution whose input codes come out of a Concat?

OpenVINO 2026.4.1 does not, on machines without AMX, where the codes are int8: results are off by
8 to 27 % of their range. As uint8 with zero point 128 the same reals are right. Whether it
happens here is tried out: 16 channels beside their negatives, and a 1 x 1 convolution.
"""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from detq.graph.build import Builder
from detq.graph.files import save_model
from detq.numerics import ACTIVATIONS, Grid, quantize, round_to_grid
from detq_deploy.backends import open_runner
from detq_deploy.saturation import rounded

SHAPE = (1, 16, 8, 8)
STEP, WEIGHT_STEP, OUT_STEP = np.float32(1 / 64), np.float32(1 / 63), np.float32(1 / 4)
Floats = NDArray[np.float32]


@cache
def adds_up() -> bool:
    """Try it out with int8 codes, once per process.

    Raises:
        TargetUnavailableError: OpenVINO is not installed.
    """
    images = trial_images()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "concat.onnx"
        save_model(trial_model(ACTIVATIONS), path)
        with open_runner("openvino", path, threads=1) as run:
            found = run(images)["outputs"]
    # One step where a sum lies on the edge between two.
    return bool(np.abs(found - exact(images)).max() < 1.5 * OUT_STEP)


def trial_images() -> Floats:
    """What the trial is run on."""
    return np.random.default_rng(1).uniform(-2, 2, SHAPE).astype(np.float32)


def trial_model(grid: Grid) -> ir.Model:
    """``images`` and their negatives → Q/DQ → Concat → 1 x 1 convolution → Q/DQ.

    Args:
        grid: how the codes of the activations are stored.
    """
    b = Builder("signed concat")
    images = b.input("images", SHAPE)
    parts = [
        images,
        b.elementwise("Mul", images, b.constant("minus", np.full((), -0.75, np.float32))),
    ]
    joined = b.concat([rounded(b, part, STEP, grid) for part in parts])
    kernel = b.op(
        "DequantizeLinear",
        b.constant("weight", weights()),
        b.constant("weight.scale", np.full(len(weights()), WEIGHT_STEP)),
        axis=0,
    )
    y = b.op("Conv", joined, kernel, kernel_shape=[1, 1], shape=SHAPE)
    return b.finish({"outputs": rounded(b, y, OUT_STEP, grid)})


def weights() -> NDArray[np.int8]:
    """Kernels of the trial, [16, 32, 1, 1]; 7 bits, so that nothing overflows."""
    random = np.random.default_rng(2)
    return random.integers(-63, 64, (SHAPE[1], 2 * SHAPE[1], 1, 1)).astype(np.int8)


def exact(images: Floats) -> Floats:
    """What the trial gives, in integers, with no graph."""
    sides = images, images * np.float32(-0.75)
    parts = [quantize(x, STEP, ACTIVATIONS) for x in sides]
    joined = np.concatenate(parts, axis=1)[0].astype(np.int64)
    sums = np.einsum("oi,ihw->ohw", weights()[:, :, 0, 0].astype(np.int64), joined)
    codes = round_to_grid(sums.astype(np.float64) * float(STEP * WEIGHT_STEP), OUT_STEP)
    found: Floats = (np.clip(codes, -128, 127) * OUT_STEP).astype(np.float32)[None]
    return found
