"""Does an engine's INT8 convolution overflow on this machine?

Without VNNI or its like, x86 multiplies u8 by s8 and adds two neighbouring products in a
signed 16-bit lane that saturates at 32767. Two products of 255 * 127 = 32385 do not fit; two
of 255 * 63 = 16065 do, which is why 7-bit weights are exact. Whether it happens is a matter
of the processor and of the kernel that the engine chose, so it is tried out: one convolution
whose activations are all 255 and whose weights are all 127, with Q/DQ on both sides, the form
that every engine fuses.
"""

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from detq.graph.build import Builder
from detq.graph.files import save_model
from detq.numerics import ACTIVATIONS_UNSIGNED, WEIGHTS, Grid
from detq_deploy.backends import open_runner
from detq_deploy.engines import engine_title
from detq_deploy.inspect_cpu import int8_layers

_CHANNELS, _KERNEL, _SIZE = 64, 3, 8
EXACT_CODE = 250  # of every output element, when the sums are exact


@dataclass(frozen=True, slots=True)
class Saturation:
    """The outcome of one trial.

    Attributes:
        engine: name and version.
        saturates: pairs of 8-bit products overflow; weights need 7 bits.
        int8: the engine did run the convolution in INT8.
        kernel: the engine's own name of what it ran.
    """

    engine: str
    saturates: bool
    int8: bool
    kernel: str


@cache
def probe(engine: str) -> Saturation:
    """Try it out in ``engine``, once per process.

    Args:
        engine: ``onnxruntime`` or ``openvino``.

    Raises:
        TargetUnavailableError: the engine is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.onnx"
        save_model(probe_model(), path)
        layers = int8_layers(engine, path)
        with open_runner(engine, path, threads=1) as run:
            outputs = run(np.ones((1, _CHANNELS, _SIZE, _SIZE), np.float32))["outputs"]
    return Saturation(
        engine=engine_title(engine),
        saturates=overflowed(outputs),
        int8=layers.int8 == 1,
        kernel=", ".join(layers.kernels),
    )


def overflowed(outputs: NDArray[Any]) -> bool:
    """Whether any output of the probe is more than one step off the exact code.

    Args:
        outputs: dequantized with scale 1, so the codes themselves.
    """
    return bool((np.abs(outputs - np.float32(EXACT_CODE)) > 1.5).any())


def probe_model(grid: Grid = WEIGHTS) -> ir.Model:
    """Q/DQ, one 3 x 3 convolution of 64 channels with all weights highest in ``grid``, Q/DQ.

    With images of ones every exact sum is 64 * 9 * 255 * ``grid.highest``; the weight scale is
    such that this is ``EXACT_CODE`` steps of 1.
    """
    sums = _CHANNELS * _KERNEL**2
    weights = np.full((_CHANNELS, _CHANNELS, _KERNEL, _KERNEL), grid.highest, grid.dtype)
    weight_scale = np.full(_CHANNELS, EXACT_CODE / sums / grid.highest, np.float32)
    after = _SIZE - _KERNEL + 1
    b = Builder("saturation probe")
    images = b.input("images", (1, _CHANNELS, _SIZE, _SIZE))
    step = np.float32(1 / ACTIVATIONS_UNSIGNED.highest)
    x = rounded(b, images, step, ACTIVATIONS_UNSIGNED)
    w = b.op(
        "DequantizeLinear",
        b.constant("weight", weights),
        b.constant("weight.scale", weight_scale),
        axis=0,
    )
    shape = (1, _CHANNELS, after, after)
    y = b.op("Conv", x, w, kernel_shape=[_KERNEL, _KERNEL], shape=shape)
    return b.finish({"outputs": rounded(b, y, np.float32(1), ACTIVATIONS_UNSIGNED)})


def rounded(b: Builder, x: ir.Value, step: np.float32, grid: Grid) -> ir.Value:
    """Q and DQ around the codes of a value.

    Args:
        b: writes them.
        x: the value.
        step: scale of all of it.
        grid: how the codes are stored.
    """
    parts = (
        b.constant("step", np.asarray(step)),
        b.constant("zero", np.full((), grid.zero_point, grid.dtype)),
    )
    codes = b.op("QuantizeLinear", x, *parts)
    codes.dtype = ir.DataType.from_numpy(grid.dtype)
    y = b.op("DequantizeLinear", codes, *parts)
    codes.shape = y.shape = x.shape
    return y
