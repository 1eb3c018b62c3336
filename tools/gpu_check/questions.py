"""What documents leave open about Q/DQ, as graphs of one layer and what they have to give.

Each graph is computed here by its definition, in float64; an engine that gives something else
reads the file in another way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from detq.graph.build import Builder
from detq.graph.files import save_model
from detq.numerics import WEIGHTS, quantize

Array = NDArray[Any]

INPUTS, OUTPUTS, SIDE, KERNEL = 32, 64, 16, 2  # inputs and outputs differ: so do the axes
LAYER = "layer"
OPSET = 13  # what TensorRT 8 reads
_STEP = np.float32(2 / 127)


@dataclass(frozen=True)
class Question:
    """A graph and its answer.

    Attributes:
        file: ONNX file.
        about: what it asks, for people.
        images: float32 [1, 32, 16, 16].
        wanted: what it has to give.
    """

    file: str
    about: str
    images: Array
    wanted: Array


def write_questions(folder: Path) -> dict[str, Question]:
    """Write every graph into ``folder``, and its images and answer beside it."""
    found = {}
    for name, (transposed, axis, stored, about) in _FORMS.items():
        images, wanted, model = _graph(transposed, axis, stored)
        save_model(model, folder / f"{name}.onnx")
        np.savez(folder / f"{name}.npz", images=images, wanted=wanted)
        found[name] = Question(f"{name}.onnx", about, images, wanted)
    return found


def read_question(folder: Path, name: str) -> Question:
    """What ``write_questions`` wrote."""
    with np.load(folder / f"{name}.npz", allow_pickle=False) as kept:
        return Question(f"{name}.onnx", _FORMS[name][3], kept["images"], kept["wanted"])


# name → transposed, axis of the weights' scales (None: one scale), weights stored as INT8.
_FORMS: Mapping[str, tuple[bool, int | None, bool, str]] = {
    "transposed_one_scale": (True, None, False, "ConvTranspose, one scale for the weights"),
    "transposed_axis_0": (True, 0, False, "ConvTranspose, a scale for each input channel"),
    "transposed_axis_1": (True, 1, False, "ConvTranspose, a scale for each output channel"),
    "stored_conv": (False, 0, True, "Conv, INT8 initializer with DequantizeLinear alone"),
    "float_conv": (False, 0, False, "Conv, float initializer with Q and DQ"),
}
QUESTIONS = tuple(_FORMS)


def _graph(transposed: bool, axis: int | None, stored: bool) -> tuple[Array, Array, ir.Model]:
    random = np.random.default_rng(0)
    images = random.uniform(-2, 2, (1, INPUTS, SIDE, SIDE)).astype(np.float32)
    shape = (INPUTS, OUTPUTS) if transposed else (OUTPUTS, INPUTS)
    # Channels of very different size along both axes: a wrong axis shows at once.
    sizes = np.exp(random.uniform(-3, 0, (*shape, 1, 1)))
    weights = (random.normal(0, 0.1, (*shape, KERNEL, KERNEL)) * sizes).astype(np.float32)
    scale = _scale(weights, axis)
    codes = quantize(weights, _along(scale, axis), WEIGHTS).astype(np.int8)
    real = codes.astype(np.float64) * _along(scale, axis)
    x = quantize(images, np.asarray(_STEP), WEIGHTS).astype(np.float64) * _STEP
    wanted = _transposed(x, real) if transposed else _convolved(x, real)
    stored_weights = codes if stored else real.astype(np.float32)
    model = _model(stored_weights, scale, axis, transposed, wanted.shape)
    return images, wanted.astype(np.float32), model


def _scale(weights: Array, axis: int | None) -> Array:
    others = tuple(n for n in range(weights.ndim) if n != axis)
    highest = np.abs(weights).max(axis=others if axis is not None else None)
    return np.asarray(highest / 127, np.float32)


def _along(scale: Array, axis: int | None) -> Array:
    return scale if axis is None else scale.reshape([-1 if n == axis else 1 for n in range(4)])


def _transposed(x: Array, weights: Array) -> Array:
    """Stride as wide as the kernel: no two products meet."""
    spread: Array = np.einsum("nchw,cokl->nohkwl", x, weights)
    return spread.reshape(1, OUTPUTS, KERNEL * SIDE, KERNEL * SIDE)


def _convolved(x: Array, weights: Array) -> Array:
    cut = x.reshape(1, INPUTS, SIDE // KERNEL, KERNEL, SIDE // KERNEL, KERNEL)
    found: Array = np.einsum("nchkwl,ockl->nohw", cut, weights)
    return found


def _model(
    weights: Array, scale: Array, axis: int | None, transposed: bool, shape: tuple[int, ...]
) -> ir.Model:
    b = Builder("question")
    wide = (1, INPUTS, SIDE, SIDE)
    x = b.input("images", wide)
    grid = b.constant("scale", np.asarray(_STEP)), b.constant("zero_point", np.array(0, np.int8))
    codes = b.op("QuantizeLinear", x, *grid, name="images.quantize", shape=wide)
    codes.dtype = ir.DataType.INT8
    x = b.op("DequantizeLinear", codes, *grid, name="images.dequantize", shape=wide)
    w = b.constant("weight", weights)
    along: dict[str, Any] = {} if axis is None else {"axis": axis}
    of_weights = (
        b.constant("weight.scale", scale),
        b.constant("weight.zero_point", np.zeros(scale.shape, np.int8)),
    )
    if weights.dtype != np.int8:
        w = b.op("QuantizeLinear", w, *of_weights, name="weight.quantize", **along)
        w.dtype = ir.DataType.INT8
    w = b.op("DequantizeLinear", w, *of_weights, name="weight.dequantize", **along)
    kind = "ConvTranspose" if transposed else "Conv"
    steps = [KERNEL, KERNEL]
    y = b.op(kind, x, w, name=LAYER, shape=shape, strides=steps, kernel_shape=steps)
    model = b.finish({"outputs": y})
    model.graph.opset_imports[""] = OPSET
    return model
