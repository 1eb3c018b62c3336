import warnings
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

from detq.errors import UnsupportedOperatorError
from detq.graph.execute import compile_slice, execute, parameters
from detq.graph.ops import TABLE, DequantizeLinear, QuantizeLinear
from tests.engines import assert_within_range, in_interpreter, in_onnxruntime, one_node

# Vectors of a form that the interpreter has to refuse in words, instead of answering wrongly.
REFUSED = {
    "test_add_uint??": "torch adds no wide unsigned integers",
    "test_sub_uint??": "torch subtracts no wide unsigned integers",
    "test_div_uint??": "torch divides no wide unsigned integers",
    "test_*_same_upper": "padding is written out in detectors",
    "test_*_same_lower": "padding is written out in detectors",
    "test_*autopad_same": "padding is written out in detectors",
    "test_*pool_1d_default": "images have two dimensions",
    "test_*pool_3d_*": "images have two dimensions",
    "test_convtranspose_1d": "images have two dimensions",
    "test_convtranspose_3d": "images have two dimensions",
    "test_averagepool_2d_dilations": "no detector dilates an average",
    "test_maxpool_with_argmax_*": "a second output, which no detector reads",
    "test_batchnorm_*_training_mode": "graphs are for inference",
    "test_convtranspose_output_shape": "padding is written out in detectors",
    "test_convtranspose_kernel_shape": "has output_shape; padding is written out in detectors",
    "test_*quantizelinear_blocked*": "one scale per block: not INT8 as the targets know it",
    "test_slice_neg_steps": "torch has no backward view",
    "test_split_equal_parts_*_opset13": "the number of parts is not among the arguments",
    "test_resize_*_cubic*": "no detector has it",
    "test_resize_*_antialias": "no detector has it",
    "test_resize_*_axes_*": "opset 18",
    "test_resize_*_not_larger": "opset 18",
    "test_resize_*_not_smaller": "opset 18",
    "test_resize_tf_crop_and_resize*": "no detector has it",
    "test_resize_*_half_pixel_symmetric": "opset 19",
    "test_resize_downsample_*_nearest": "only whole factors upwards",
    "test_resize_upsample_sizes_nearest": "from 2 to 7 pixels: only whole factors",
    "test_resize_upsample_sizes_nearest_*": "other rounding than detectors have",
    "test_resize_downsample_*_linear*": "the sizes are not in the ratio of the scales",
    "test_max_uint??": "torch compares no wide unsigned integers",
    "test_min_uint??": "torch compares no wide unsigned integers",
    "test_edge_pad": "detectors pad with a number",
    "test_reflect_pad": "detectors pad with a number",
    "test_wrap_pad": "detectors pad with a number",
    "test_reduce_m??_empty_set*": "a feature map is not empty",
}
# Vectors of element types that are not fed to the interpreter at all.
OTHER_TYPES = {
    "test_cast_*FLOAT8*": "no 8-bit floats",
    "test_cast_*FLOAT4*": "no 4-bit floats",
    "test_cast_*BFLOAT16*": "no bfloat16",
    "test_cast_*INT4*": "no 4-bit integers",
    "test_cast_*INT2*": "no 2-bit integers",
    "test_*quantizelinear_e?m*": "no 8-bit floats",
    "test_*quantizelinear_float4*": "no 4-bit floats",
    "test_*quantizelinear_*int4": "no 4-bit integers in storage",
    "test_*quantizelinear_*int2": "no 2-bit integers in storage",
    "test_equal_string*": "no text",
    "test_range_bfloat16_*": "no bfloat16",
    "test_identity_sequence": "not a tensor",
    "test_identity_opt": "not a tensor",
    "test_*_expanded": "the decomposed form of another operator",
}
# A vector printed with four digits.
COARSE = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-3}


@pytest.fixture(scope="module")
def vectors() -> Mapping[str, list[TestCase]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the generators divide by zero on purpose
        cases = load_model_tests(kind="node")
    found: dict[str, list[TestCase]] = {}
    for case in cases:
        assert case.model is not None
        if len(case.model.graph.node) == 1:
            found.setdefault(case.model.graph.node[0].op_type, []).append(case)
    return found


def _matches(name: str, patterns: Mapping[str, str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check(case: TestCase) -> None:
    model = ir.from_proto(case.model)
    for inputs, outputs in case.data_sets:
        feeds = {
            str(value.name): torch.from_numpy(np.array(_array(x)))
            for value, x in zip(model.graph.inputs, inputs, strict=True)
        }
        program = compile_slice(model.graph, list(feeds))
        found = execute(program, feeds, parameters(program))
        for value, x in zip(model.graph.outputs, outputs, strict=True):
            got, wanted = found[str(value.name)].numpy(), _array(x)
            if case.model.graph.node[0].op_type == "QuantizeLinear":
                got = got.astype(wanted.dtype)  # integers travel as floats
            assert got.dtype == wanted.dtype
            rtol = COARSE.get(case.name, 1e-5)
            np.testing.assert_allclose(got, wanted, rtol=rtol, atol=1e-6, err_msg=case.name)


def _array(x: NDArray[Any] | onnx.TensorProto) -> NDArray[Any]:
    return numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else np.asarray(x)


@pytest.mark.parametrize("operator", TABLE)
def test_agrees_with_the_published_vectors(
    operator: str, vectors: Mapping[str, list[TestCase]]
) -> None:
    cases = [case for case in vectors[operator] if not _matches(case.name, OTHER_TYPES)]
    agreed = [case for case in cases if not _matches(case.name, REFUSED)]
    for case in agreed:
        _check(case)
    for case in cases:
        if case not in agreed:
            with pytest.raises(UnsupportedOperatorError):
                _check(case)
    assert agreed


def test_every_exclusion_has_a_vector(vectors: Mapping[str, list[TestCase]]) -> None:
    names = [case.name for operator in TABLE for case in vectors[operator]]
    for pattern in (*REFUSED, *OTHER_TYPES):
        assert any(fnmatchcase(name, pattern) for name in names), pattern


Draw = Callable[[st.SearchStrategy[Any]], Any]
small = st.integers(1, 3)
pair = st.tuples(small, small)


def _normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _agree(operator: str, inputs: Mapping[str, NDArray[Any] | None], **attributes: Any) -> None:
    model = one_node(operator, inputs, **attributes)
    feeds = {name: array for name, array in inputs.items() if array is not None}
    wanted, got = in_onnxruntime(model, feeds)["y"], in_interpreter(model, feeds)["y"]
    assert_within_range(got, wanted, 1e-6)


@st.composite
def convolutions(draw: Draw) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    groups, kernel = draw(small), draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    inputs = {
        "x": _normal(draw(small), groups * draw(small), *draw(st.tuples(*[st.integers(7, 11)] * 2)))
    }
    shape = draw(small) * groups, inputs["x"].shape[1] // groups, *kernel
    inputs["w"] = _normal(*shape)
    if draw(st.booleans()):
        inputs["b"] = _normal(shape[0])
    attributes = {
        "kernel_shape": list(kernel),
        "strides": list(draw(pair)),
        "dilations": list(draw(st.tuples(*[st.integers(1, 2)] * 2))),
        "pads": draw(st.lists(st.integers(0, 3), min_size=4, max_size=4)),
        "group": groups,
    }
    return inputs, attributes


@given(convolutions())
@settings(max_examples=60)
def test_convolutions_agree_with_onnxruntime(
    case: tuple[dict[str, NDArray[Any]], dict[str, Any]],
) -> None:
    inputs, attributes = case
    _agree("Conv", inputs, **attributes)


@given(convolutions(), st.data())
@settings(max_examples=60)
def test_transposed_convolutions_agree_with_onnxruntime(
    case: tuple[dict[str, NDArray[Any]], dict[str, Any]], data: st.DataObject
) -> None:
    inputs, attributes = case
    out = data.draw(small)
    weight = _normal(inputs["x"].shape[1], out, *attributes["kernel_shape"])
    given_ = {"x": inputs["x"], "w": weight}
    if "b" in inputs:
        given_["b"] = _normal(out * attributes["group"])
    extra = [data.draw(st.integers(0, stride - 1)) for stride in attributes["strides"]]
    _agree("ConvTranspose", given_, **attributes, output_padding=extra)


@given(
    operator=st.sampled_from(["MaxPool", "AveragePool"]),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=pair,
    pads=st.lists(st.integers(0, 4), min_size=4, max_size=4),
    ceil_mode=st.integers(0, 1),
    counted=st.integers(0, 1),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
)
@settings(max_examples=150)
def test_pools_agree_with_onnxruntime(
    operator: str, kernel: tuple[int, int], strides: tuple[int, int], pads: list[int],
    ceil_mode: int, counted: int, dilations: tuple[int, int],
) -> None:  # fmt: skip
    assume(all(p < k for p, k in zip(pads, kernel * 2, strict=True)))
    own = {"dilations": dilations} if operator == "MaxPool" else {"count_include_pad": counted}
    inputs = {"x": _normal(2, 3, 11, 10)}
    try:
        _agree(operator, inputs, kernel_shape=kernel, strides=strides, pads=pads,
               ceil_mode=ceil_mode, **own)  # fmt: skip
    except UnsupportedOperatorError:
        large = any(p > k // 2 for p, k in zip(pads, kernel * 2, strict=True))
        uneven = large or pads[:2] != pads[2:]
        assert ceil_mode
        assert uneven


WHOLE = [
    ("nearest", "asymmetric", "floor"),
    ("nearest", "half_pixel", "round_prefer_floor"),
    ("nearest", "half_pixel", "round_prefer_ceil"),
    ("nearest", "pytorch_half_pixel", "round_prefer_floor"),
    ("linear", "half_pixel", None),
    ("linear", "align_corners", None),
]


@given(
    form=st.sampled_from(WHOLE),
    size=st.tuples(st.integers(2, 6), st.integers(2, 6)),
    factors=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    by_sizes=st.booleans(),
)
@settings(max_examples=80)
def test_resizing_agrees_with_onnxruntime(
    form: tuple[str, str, str | None], size: tuple[int, int], factors: tuple[int, int],
    by_sizes: bool,
) -> None:  # fmt: skip
    mode, coordinates, rounding = form
    sizes = np.array([1, 2, *(n * f for n, f in zip(size, factors, strict=True))])
    inputs = {
        "x": _normal(1, 2, *size),
        "roi": None,
        "scales": None if by_sizes else np.array([1, 1, *factors], np.float32),
        "sizes": sizes if by_sizes else None,
    }
    _agree(
        "Resize", inputs, mode=mode, coordinate_transformation_mode=coordinates,
        nearest_mode=rounding,
    )  # fmt: skip


SCALES = [1.0, 0.5, 2.0**-9, 1 / 255, 0.1, 0.0123, 3.7e-5, 1e4]
TYPES = [np.int8, np.uint8]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", TYPES)
def test_quantizing_is_bit_equal_to_onnxruntime(scale: float, kind: type) -> None:
    halves = np.arange(-600, 601, dtype=np.float32) / 2  # every integer and every tie, and beyond
    exact = halves * np.float32(scale)
    x = np.concatenate([exact, np.nextafter(exact, np.float32(np.inf)), [np.inf, -np.inf]])
    inputs = {
        "x": x.astype(np.float32),
        "scale": np.array(scale, np.float32),
        "zero": np.array(0, kind),
    }
    model = one_node("QuantizeLinear", inputs)
    got, wanted = in_interpreter(model, inputs)["y"], in_onnxruntime(model, inputs)["y"]
    assert wanted.dtype == kind
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("kind", TYPES)
def test_ties_go_to_the_even_integer(kind: type) -> None:
    limits = np.iinfo(kind)
    ties = [n + 0.5 for n in range(limits.min - 2, limits.max + 3)]
    wanted = [min(max(round(tie), limits.min), limits.max) for tie in ties]
    scale = torch.tensor(2.0**-7)
    zero = torch.from_numpy(np.array(0, kind))
    assert QuantizeLinear(torch.tensor(ties) * scale, scale, zero).tolist() == wanted


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", TYPES)
def test_every_integer_comes_back(scale: float, kind: type) -> None:
    limits = np.iinfo(kind)
    integers = np.arange(limits.min, limits.max + 1).astype(kind)
    inputs = {"x": integers, "scale": np.array(scale, np.float32), "zero": np.array(0, kind)}
    model = one_node("DequantizeLinear", inputs)
    values = in_interpreter(model, inputs)["y"]
    np.testing.assert_array_equal(values, in_onnxruntime(model, inputs)["y"])
    again = QuantizeLinear(
        torch.from_numpy(values), torch.tensor(scale), torch.from_numpy(inputs["zero"])
    )
    np.testing.assert_array_equal(again.numpy(), integers)


@pytest.mark.parametrize("axis", [0, 1])
def test_scales_per_channel_are_bit_equal_to_onnxruntime(axis: int) -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((6, 6, 3, 3)).astype(np.float32)
    scale = rng.uniform(0.01, 0.1, 6).astype(np.float32)
    inputs = {"x": weights, "scale": scale, "zero": np.zeros(6, np.int8)}
    model = one_node("QuantizeLinear", inputs, axis=axis)
    codes = in_onnxruntime(model, inputs)["y"]
    np.testing.assert_array_equal(in_interpreter(model, inputs)["y"], codes)
    inputs["x"] = codes
    model = one_node("DequantizeLinear", inputs, axis=axis)
    got, wanted = in_interpreter(model, inputs)["y"], in_onnxruntime(model, inputs)["y"]
    np.testing.assert_array_equal(got, wanted)


def test_learners_see_a_gradient_behind_the_integers() -> None:
    scale = torch.tensor(0.1, requires_grad=True)
    DequantizeLinear(torch.tensor([3, -4], dtype=torch.int8), scale).sum().backward()
    assert scale.grad is not None
    assert scale.grad.item() == -1
