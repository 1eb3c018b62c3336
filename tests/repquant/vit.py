"""A small vision transformer: patches, one block of attention and MLP, a linear head."""

import numpy as np
import onnx_ir as ir

from detq.detection import Detector
from detq.model import FloatModel
from tests.block_writer import Writer

SIZE, PATCH, WIDTH, HEADS = (32, 32), 8, 16, 2
TOKENS = (SIZE[0] // PATCH) * (SIZE[1] // PATCH)


def vit(seed: int = 0, *, gemm: bool = False) -> FloatModel:
    """images [B, 3, 32, 32] → outputs [B, 16, 5]; LayerNorms with channels far apart."""
    w = Writer("vit", seed)
    images = w.input("images", ["batch", 3, *SIZE])
    kernel = w.weight(WIDTH, 3, PATCH, PATCH)
    x = w.conv(images, kernel, w.vector(WIDTH, -1, 1), stride=(PATCH, PATCH), name="patch")
    x = w.transpose(w.reshape(x, (WIDTH, TOKENS)), (0, 2, 1))
    x = w.elementwise("Add", x, _attention(w, _norm(w, x, "norm1")))
    x = w.elementwise("Add", x, _mlp(w, _norm(w, x, "norm2"), gemm))
    x = _linear(w, _norm(w, x, "norm3"), 5, "head")
    detector = Detector(family="vit", names=("a",), strides=(PATCH,), size=SIZE)
    return FloatModel(w.finish({"outputs": x}), detector)


def _norm(w: Writer, x: ir.Value, name: str) -> ir.Value:
    gain = w.vector(WIDTH, 0.5, 1.5)
    gain[3], gain[7] = 24, 0.02
    shift = w.vector(WIDTH, -0.5, 0.5)
    shift[5] = 30
    return w.elementwise(
        "LayerNormalization",
        x,
        w.constant(f"{name}.gain", gain),
        w.constant(f"{name}.shift", shift),
        name=name,
        axis=-1,
    )


def _linear(w: Writer, x: ir.Value, out: int, name: str, *, bias: bool = True) -> ir.Value:
    width = int(str(x.shape[-1])) if x.shape is not None else 0
    shape = (*(x.shape or ())[:-1], out)
    matrix = w.constant(f"{name}.weight", w.weight(width, out, fan_in=width))
    y = w.op("MatMul", x, matrix, name=name, shape=shape)
    vector = w.constant(f"{name}.bias", w.vector(out, -0.1, 0.1)) if bias else None
    return y if vector is None else w.elementwise("Add", y, vector, name=f"{name}.add")


def _attention(w: Writer, x: ir.Value) -> ir.Value:
    each = WIDTH // HEADS
    # One of the three has no bias: the shift needs a node of its own there.
    q, k, v = (_linear(w, x, WIDTH, name, bias=name != "key") for name in ("query", "key", "value"))
    split = [w.reshape(part, (TOKENS, HEADS, each)) for part in (q, k, v)]
    q, v = (w.transpose(part, (0, 2, 1, 3)) for part in (split[0], split[2]))
    k = w.transpose(split[1], (0, 2, 3, 1))
    batch = "batch"
    score = w.op("MatMul", q, k, name="score", shape=(batch, HEADS, TOKENS, TOKENS))
    score = w.elementwise("Mul", score, w.constant("root", np.float32(each**-0.5).reshape(())))
    attention = w.elementwise("Softmax", score, name="attention", axis=-1)
    mixed = w.op("MatMul", attention, v, name="mixed", shape=(batch, HEADS, TOKENS, each))
    joined = w.reshape(w.transpose(mixed, (0, 2, 1, 3)), (TOKENS, WIDTH))
    return _linear(w, joined, WIDTH, "project")


def _mlp(w: Writer, x: ir.Value, gemm: bool) -> ir.Value:
    if not gemm:
        hidden = w.elementwise("Gelu", _linear(w, x, 2 * WIDTH, "fc1"))
        return _linear(w, hidden, WIDTH, "fc2")
    matrix = w.constant("fc1.weight", w.weight(2 * WIDTH, WIDTH, fan_in=WIDTH))
    flat_shape = w.constant("flat", np.array([-1, WIDTH], np.int64))
    flat = w.op("Reshape", x, flat_shape, name="rows", shape=(None, WIDTH))
    hidden = w.op("Gemm", flat, matrix, name="fc1", shape=(None, 2 * WIDTH), transB=1)
    back = w.constant("back", np.array([-1, TOKENS, 2 * WIDTH], np.int64))
    hidden = w.op("Reshape", hidden, back, name="tokens", shape=("batch", TOKENS, 2 * WIDTH))
    return _linear(w, w.elementwise("Relu", hidden), WIDTH, "fc2")
