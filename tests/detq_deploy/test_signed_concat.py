"""Signed tensors side by side in front of a convolution: what the engines make of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from detq.graph.build import Builder
from detq.graph.files import save_model
from detq.numerics import ACTIVATIONS, ACTIVATIONS_UNSIGNED, Grid
from detq_deploy.backends import open_runner
from detq_deploy.cpu_targets import KERNELS, older_cpu_target
from detq_deploy.lint import cpu_forms
from detq_deploy.lint.subject import subject_from
from detq_deploy.saturation import rounded
from detq_deploy.signed_concat import (
    OUT_STEP,
    SHAPE,
    STEP,
    WEIGHT_STEP,
    adds_up,
    exact,
    trial_images,
    trial_model,
)

OPENVINO = older_cpu_target("openvino")
Array = NDArray[np.float32]

# What stands between the two tensors and the convolution; "pair" is Q and DQ.
WRONG = [
    "pairs concat",
    "pairs concat pair",
    "unsigned-and-signed concat",
    "unsigned-and-signed concat pair",
    "concat pair",
    "pairs concat shuffle",
    "pairs concat slice",
    "pairs concat pool",
    "pairs concat double",
    "concat pair shuffle",
    "concat pair pool",
    "concat pair double",
]
RIGHT = [
    "pairs concat shuffle pair",
    "pairs concat slice pair",
    "pairs concat pool pair",
    "pairs concat double pair",
    "concat shuffle pair",
    "concat pool pair",
    "pairs concat grouped",
    "pairs concat depthwise",
    "concat pair depthwise",
]


@pytest.mark.parametrize("engine", sorted(KERNELS))
def test_signed_tensors_side_by_side_add_up(engine: str, tmp_path: Path) -> None:
    shifted = older_cpu_target(engine).shifted_activations
    found = run(trial_model(Grid(signed=True, shifted=shifted)), engine, tmp_path)
    wanted = exact(trial_images())
    assert np.ptp(wanted) > 20 * OUT_STEP
    # One output step where a sum lies on the edge between two.
    np.testing.assert_allclose(found, wanted, atol=float(OUT_STEP) * 1.01)
    assert (found == wanted).mean() > 0.99


def test_the_trial_tells_whether_int8_codes_do(tmp_path: Path) -> None:
    found = run(trial_model(ACTIVATIONS), "openvino", tmp_path)
    off = np.abs(found - exact(trial_images())).max()
    assert adds_up() is bool(off < 1.5 * OUT_STEP)


@pytest.mark.parametrize("form", [*WRONG, *RIGHT])
def test_the_rule_knows_the_forms_that_the_engine_gets_wrong(form: str, tmp_path: Path) -> None:
    model = sketch(form.split())
    told = bool(list(cpu_forms.signed_concat(subject_from(model, OPENVINO))))
    assert told is (form in WRONG)
    assert is_right(model, tmp_path) is (form in RIGHT or adds_up())


@pytest.mark.parametrize("form", WRONG)
def test_the_same_as_uint8_is_right(form: str, tmp_path: Path) -> None:
    model = sketch(form.split(), Grid(signed=True, shifted=True))
    assert not list(cpu_forms.signed_concat(subject_from(model, OPENVINO)))
    assert is_right(model, tmp_path)


def is_right(model: ir.Model, folder: Path) -> bool:
    simulated = run(model, "onnxruntime", folder, optimize=False)
    off = np.abs(run(model, "openvino", folder) - simulated)
    # One output step where a sum lies on the edge between two.
    return bool(off.max() < 1.5 * OUT_STEP and (off > 0).mean() < 0.05)


def run(model: ir.Model, engine: str, folder: Path, *, optimize: bool = True) -> Array:
    path = folder / "concat.onnx"
    save_model(model, path)
    options = {} if optimize else {"optimize": False}
    with open_runner(engine, path, threads=1, **options) as runner:  # type: ignore[arg-type]
        found: Array = runner(trial_images())["outputs"]
    return found


def sketch(steps: Sequence[str], grid: Grid = ACTIVATIONS) -> ir.Model:
    b = Builder("sketch")
    x = b.input("images", SHAPE)
    sides = [x, b.elementwise("Mul", x, b.constant("minus", np.float32(-0.75)))]
    if "unsigned-and-signed" in steps:
        grids = [ACTIVATIONS_UNSIGNED, grid]
        sides[0] = b.op("Relu", x, shape=SHAPE)
    else:
        grids = [grid, grid]
    if steps[0] != "concat":
        sides = [rounded(b, side, STEP, one) for side, one in zip(sides, grids, strict=True)]
    x = b.concat(sides)
    for step in steps[steps.index("concat") + 1 :]:
        if step == "pair":
            x = rounded(b, x, STEP, grid)
        elif step in COPIES:
            x = COPIES[step](b, x)
    x = convolution(b, x, {"grouped": 2, "depthwise": 32}.get(steps[-1], 1))
    return b.finish({"outputs": rounded(b, x, OUT_STEP, grid)})


def shuffled(b: Builder, x: ir.Value) -> ir.Value:
    _, channels, height, width = sizes(x)
    parts = (1, 2, channels // 2, height, width)
    x = b.op("Reshape", x, shape_of(b, parts), shape=parts)
    turned = (1, channels // 2, 2, height, width)
    x = b.op("Transpose", x, perm=[0, 2, 1, 3, 4], shape=turned)
    back = (1, channels, height, width)
    return b.op("Reshape", x, shape_of(b, back), shape=back)


def sliced(b: Builder, x: ir.Value) -> ir.Value:
    ends = (b.constant(name, np.array([n], np.int64)) for name, n in (("a", 0), ("b", 16)))
    axis = b.constant("axis", np.array([1], np.int64))
    return b.op("Slice", x, *ends, axis, shape=SHAPE)


def pooled(b: Builder, x: ir.Value) -> ir.Value:
    return b.op("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], shape=sizes(x))


def doubled(b: Builder, x: ir.Value) -> ir.Value:
    _, channels, height, width = sizes(x)
    scales = b.constant("scales", np.array([1, 1, 2, 2], np.float32))
    kind = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    shape = (1, channels, 2 * height, 2 * width)
    return b.op("Resize", x, None, scales, **kind, nearest_mode="floor", shape=shape)


COPIES = {"shuffle": shuffled, "slice": sliced, "pool": pooled, "double": doubled}


def convolution(b: Builder, x: ir.Value, groups: int) -> ir.Value:
    _, channels, height, width = sizes(x)
    outputs = channels if groups == channels else 16
    kernels = np.random.default_rng(2).integers(-63, 64, (outputs, channels // groups, 1, 1))
    kernel = b.op(
        "DequantizeLinear",
        b.constant("weight", kernels.astype(np.int8)),
        b.constant("weight.scale", np.full(outputs, WEIGHT_STEP)),
        axis=0,
    )
    shape = (1, outputs, height, width)
    return b.op("Conv", x, kernel, kernel_shape=[1, 1], group=groups, shape=shape)


def sizes(x: ir.Value) -> tuple[int, ...]:
    assert x.shape is not None
    return tuple(int(n) for n in x.shape.numpy())


def shape_of(b: Builder, sizes: tuple[int, ...]) -> ir.Value:
    return b.constant("shape", np.array(sizes, np.int64))
