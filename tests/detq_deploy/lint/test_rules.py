"""Each rule finds its fault at the node, in a graph of a few nodes, and not in the mended one."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from detq.numerics import WEIGHTS_7_BIT
from detq.target import PLAIN, Target
from detq_deploy.lint import lint
from detq_deploy.lint.rules import RULES
from detq_deploy.targets import target_named
from tests.detq_deploy.lint.sketch import Sketch

RTX, OLD, TRT10 = map(target_named, ("trt-rtx", "trt8.5", "trt10.3"))
ORT, OPENVINO = Target("cpu", engine="onnxruntime"), Target("cpu", engine="openvino")
AVX2 = replace(OPENVINO, weights=WEIGHTS_7_BIT, saturating=True)
Case = tuple[str, Target, str, ir.Model, ir.Model]
CASES: dict[str, Callable[[], Case]] = {}


def case(build: Callable[[], Case]) -> Callable[[], Case]:
    CASES[build.__name__] = build
    return build


def one(x: Callable[[Sketch], ir.Value], **options: object) -> ir.Model:
    """``x`` rounds the input, an INT8 layer reads it."""
    s = Sketch()
    return s.done(s.layer(x(s), **options))  # type: ignore[arg-type]


def clean(**options: object) -> ir.Model:
    return one(lambda s: s.pair(s.images), **options)


@case
def zero_point() -> Case:
    return "zero-point", PLAIN, "x.q", one(lambda s: s.pair(s.images, zero=3)), clean()


@case
def unsigned_even_with_zero_point_0() -> Case:
    wrong = one(lambda s: s.pair(s.images, dtype=np.uint8))
    return "unsigned", TRT10, "x.q", wrong, clean()


@case
def unsigned_with_zero_point_128() -> Case:
    wrong = one(lambda s: s.pair(s.images, dtype=np.uint8, zero=128))
    return "unsigned", RTX, "x.dq", wrong, clean()


@case
def sixteen_bits() -> Case:
    wrong = one(lambda s: s.pair(s.images, dtype=np.int16))
    return "integer-width", PLAIN, "x.q", wrong, clean()


@case
def computed_scale() -> Case:
    def computed(s: Sketch) -> ir.Value:
        scale = s.op("ReduceMax", s.images, keepdims=0, shape=())
        return s.pair(s.images, scale)

    return "scale-computed", PLAIN, "x.q", one(computed), clean()


@pytest.mark.parametrize("scale", [0, -0.1, np.inf, np.nan])
def test_scales_must_be_positive_numbers(scale: float) -> None:
    assert "x.q" in nodes(one(lambda s: s.pair(s.images, scale)), PLAIN, "scale-value")


@case
def scale_of_one_channel() -> Case:
    scales = np.full(16, 0.1, np.float32)
    scales[3] = 0
    wrong = one(lambda s: s.pair(s.images, scales, axis=1))
    return "scale-value", PLAIN, "x.q", wrong, clean()


@case
def float16_scale_that_became_zero() -> Case:
    wrong = one(lambda s: s.pair(s.images, np.float16(1e-9) * np.ones((), np.float16)))
    return "scale-value", PLAIN, "x.q", wrong, clean()


@case
def float16_scale_that_lost_bits() -> Case:
    small, fine = (np.asarray(x, np.float16) for x in (2e-5, 6.2e-5))
    wrong, right = (one(lambda s, x=x: s.pair(s.images, x)) for x in (small, fine))
    return "scale-float16", TRT10, "x.q", wrong, right


@case
def no_axis() -> Case:
    return "axis", RTX, "conv.weight.dq", clean(axis=None), clean()


@case
def axis_of_another_dimension() -> Case:
    return "axis", RTX, "conv.weight.dq", clean(axis=1), clean()


@case
def too_few_scales() -> Case:
    return "axis", RTX, "conv.weight.dq", clean(count=8), clean()


@case
def transposed_along_outputs_before_10_2() -> Case:
    wrong, right = (clean(kind="ConvTranspose", axis=axis) for axis in (1, 0))
    return "axis", OLD, "conv.weight.dq", wrong, right


@case
def transposed_along_inputs_since_10_2() -> Case:
    wrong, right = (clean(kind="ConvTranspose", axis=axis) for axis in (0, 1))
    return "axis", TRT10, "conv.weight.dq", wrong, right


def test_cpu_engines_take_the_axis_that_onnx_means_without_one() -> None:
    shown = one(lambda s: s.pair(s.images, np.full(16, 0.1, np.float32)))  # axis 1
    assert nodes(shown, OPENVINO, "axis") == []
    assert nodes(shown, RTX, "axis") == ["x.q", "x.dq"]
    assert nodes(clean(kind="ConvTranspose", axis=0), ORT, "axis") == []


@case
def transposed_in_float() -> Case:
    wrong, right = (clean(kind="ConvTranspose", axis=None, count=1) for _ in range(2))
    right = one(lambda s: s.images, kind="ConvTranspose", quantized=False)
    return "transposed", RTX, "conv", wrong, right


@case
def int32_bias() -> Case:
    s = Sketch()
    codes = s.constant("bias", np.ones(16, np.int32))
    scale = s.constant("bias.scale", np.full(16, 0.001, np.float32))
    bias = s.op("DequantizeLinear", codes, scale, name="bias.dq", axis=0)
    wrong = s.done(s.layer(s.pair(s.images), bias=bias))
    s = Sketch()
    right = s.done(s.layer(s.pair(s.images), bias=s.constant("bias", np.ones(16, np.float32))))
    return "bias", RTX, "conv", wrong, right


@case
def integer_operator() -> Case:
    s = Sketch()
    weight = s.constant("weight", np.ones((16, 16, 1, 1), np.int8))
    return "integer-operator", PLAIN, "int", s.raw(
        {"outputs": s.op("ConvInteger", s.images, weight, name="int")}
    ), clean()  # fmt: skip


@case
def opset_over_the_ceiling() -> Case:
    s = Sketch()
    newer = s.done(s.layer(s.pair(s.images), stored=False), opset=19)
    s = Sketch()
    return "opset", OLD, "", newer, s.done(s.layer(s.pair(s.images), stored=False), opset=17)


@case
def unknown_operator() -> Case:
    s = Sketch()
    x = s.layer(s.pair(s.images))
    wrong = s.done(s.elementwise("HardSwish", x, name="swish"))
    return "operator", OLD, "swish", wrong, clean()


@case
def suppression_without_plugins() -> Case:
    s = Sketch()
    boxes = s.op("EfficientNMS_TRT", s.layer(s.pair(s.images)), name="nms")
    return "suppression", RTX, "nms", s.raw({"outputs": boxes}), clean()


@case
def stored_integers_in_8() -> Case:
    return "weights-stored", OLD, "conv", clean(stored=True), clean(stored=False)


@case
def two_inputs_in_8() -> Case:
    wrong = one(lambda s: s.pair(s.images, zero=None), stored=False)
    return "zero-point-missing", OLD, "x.q", wrong, clean(stored=False)


@case
def float16_scale_before_opset_19() -> Case:
    wrong = one(lambda s: s.pair(s.images, np.asarray(0.1, np.float16)))
    return "scale-type", TRT10, "x.q", wrong, clean()


@case
def float32_body() -> Case:
    s = Sketch()
    codes = s.constant("codes", np.ones((16, 16, 1, 1), np.int8))
    scale = s.constant("w.scale", np.asarray(0.1, np.float16))
    half = s.op("DequantizeLinear", codes, scale, name="w.dq")
    x = s.pair(s.images, np.asarray(0.1, np.float16))
    right = s.raw({"outputs": s.op("Conv", x, half, name="conv")}, opset=19)
    return "float32-body", TRT10, "", clean(), right


@case
def float_weights() -> Case:
    return "one-sided", PLAIN, "conv", clean(quantized=False), clean()


@case
def float_input() -> Case:
    return "one-sided", PLAIN, "conv", one(lambda s: s.images), clean()


@case
def weights_that_overflow() -> Case:
    return "overflow", AVX2, "conv", clean(largest=64), clean(largest=63)


def joined(s: Sketch, scales: tuple[float, float], **options: object) -> ir.Value:
    sides = [s.relu(s.layer(s.pair(s.images), f"l{i}")) for i in range(2)]
    pairs = [s.pair(x, n, name=f"s{i}", **options)  # type: ignore[arg-type]
             for i, (x, n) in enumerate(zip(sides, scales, strict=True))]  # fmt: skip
    return s.concat(pairs, name="concat")


def behind_concat(scales: tuple[float, float], after: float, **options: object) -> ir.Model:
    s = Sketch()
    x = s.pair(joined(s, scales, **options), after, name="after", **options)  # type: ignore[arg-type]
    return s.done(s.layer(x, inputs=32))


@case
def signed_concat() -> Case:
    wrong = behind_concat((0.1, 0.1), 0.1)
    return "signed-concat", OPENVINO, "concat", wrong, behind_concat(
        (0.1, 0.1), 0.1, dtype=np.uint8, zero=128
    )  # fmt: skip


def test_signed_concat_is_right_with_amx() -> None:
    found = lint(behind_concat((0.1, 0.1), 0.1), OPENVINO, amx=True)
    assert "signed-concat" not in {finding.rule for finding in found.findings}


@case
def unequal_scales_at_a_concat() -> Case:
    wrong, right = behind_concat((0.1, 0.2), 0.2), behind_concat((0.2, 0.2), 0.2)
    return "concat-scales", PLAIN, "concat", wrong, right


@case
def one_float_side_of_a_concat() -> Case:
    models = []
    for quantize in (False, True):
        s = Sketch()
        right = s.relu(s.layer(s.pair(s.images), "right"))
        x = s.concat([s.pair(s.images), s.pair(right) if quantize else right], name="concat")
        models.append(s.done(s.layer(x, inputs=32)))
    return "concat-scales", PLAIN, "concat", *models  # type: ignore[return-value]


def test_a_q_behind_a_concat_serves_float_sides() -> None:
    s = Sketch()
    x = s.concat([s.pair(s.images, 0.2), s.relu(s.images)], name="concat")
    model = s.done(s.layer(s.pair(x, 0.2, name="after"), inputs=32))
    assert nodes(model, PLAIN, "concat-scales") == []


def fused(dtype: type, *, q: bool = True) -> ir.Model:
    s = Sketch()
    x = s.relu(s.layer(s.pair(s.images)))
    return s.done(s.pair(x, dtype=dtype, name="y") if q else x)


@case
def signed_behind_a_relu() -> Case:
    return "not-fused", ORT, "conv", fused(np.int8), fused(np.uint8)


@case
def output_not_rounded() -> Case:
    return "not-fused", ORT, "conv", fused(np.uint8, q=False), fused(np.uint8)


@case
def q_between_conv_and_relu() -> Case:
    models = []
    for before in (True, False):
        s = Sketch()
        x = s.layer(s.pair(s.images))
        x = s.relu(s.pair(x, name="y")) if before else s.pair(s.relu(x), name="y")
        models.append(s.done(s.layer(x, "next")))
    return "q-before-activation", PLAIN, "y.q", *models  # type: ignore[return-value]


def residual(skip: bool, main: bool, factor: bool = False) -> ir.Model:
    s = Sketch()
    start = s.relu(s.layer(s.pair(s.images), "first"))
    x = s.relu(s.layer(s.pair(start, name="start"), "inner"))
    x = s.layer(s.pair(x, name="mid"), "last")
    side = s.pair(start, name="skip") if skip else start
    if factor:
        side = s.elementwise("Mul", side, s.constant("alpha", np.asarray(0.5, np.float32)))
    x = s.elementwise("Add", s.pair(x, name="main") if main else x, side, name="add")
    return s.done(s.layer(s.pair(s.relu(x), name="sum"), "next"))


@case
def residual_both() -> Case:
    return "residual", PLAIN, "add", residual(True, True), residual(True, False)


@case
def residual_none() -> Case:
    return "residual", PLAIN, "add", residual(False, False), residual(True, False)


@case
def residual_wrong_side() -> Case:
    return "residual", PLAIN, "add", residual(False, True), residual(True, False, factor=True)


@pytest.mark.parametrize(
    ("skip", "main", "what"),
    [
        (True, True, "both sides are quantized"),
        (False, False, "no side is quantized"),
        (False, True, "the side of last is quantized, not the skip"),
    ],
)
def test_residuals_are_told_apart(skip: bool, main: bool, what: str) -> None:
    found = lint(residual(skip, main), PLAIN).findings
    assert [f.what for f in found if f.rule == "residual"] == [what]


@case
def duplicate_q() -> Case:
    s = Sketch()
    twice = [s.layer(s.pair(s.images, name=f"q{i}"), f"l{i}") for i in range(2)]
    wrong = s.done(*twice)
    s = Sketch()
    x = s.pair(s.images)
    return "duplicate-q", PLAIN, "q1.q", wrong, s.done(*(s.layer(x, f"l{i}") for i in range(2)))


def chain(quantized: bool) -> ir.Model:
    s = Sketch()
    x = s.relu(s.layer(s.pair(s.images), "a"))
    x = s.relu(s.layer(s.pair(x, name="y") if quantized else x, "b", quantized=quantized))
    return s.done(s.layer(s.pair(x, name="z"), "c"))


@case
def float_island() -> Case:
    return "float-island", PLAIN, "b", chain(False), chain(True)


def padded(between: bool) -> ir.Model:
    s = Sketch()
    pads = s.constant("pads", np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    x = s.images if between else s.pair(s.images)
    x = s.op("Pad", x, pads, name="pad", shape=(1, 16, 10, 10))
    return s.done(s.layer(s.pair(x, name="y") if between else x))


@case
def pad_behind_a_pair() -> Case:
    return "pad", PLAIN, "pad", padded(False), clean(size=3)


@case
def pair_between_pad_and_conv() -> Case:
    return "pad", PLAIN, "y.q", padded(True), clean(size=3)


@case
def pair_in_front_of_reshape() -> Case:
    s = Sketch()
    x = s.pair(s.relu(s.layer(s.pair(s.images))), name="y")
    x = s.reshape(x, (16, 64))
    wrong = s.raw({"outputs": x})
    return "shape-operator", PLAIN, "y.q", wrong, clean()


def second(channels: int) -> ir.Model:
    s = Sketch()
    x = s.relu(s.layer(s.pair(s.images), "first", outputs=channels))
    return s.done(s.layer(s.pair(x, name="y"), "second", inputs=channels, outputs=channels))


@case
def narrow() -> Case:
    return "narrow", TRT10, "second", second(8), second(16)


@case
def depthwise() -> Case:
    return "narrow", TRT10, "conv", clean(group=16), clean(group=16, size=3)


@case
def scale_for_each_channel_of_an_activation() -> Case:
    wrong = one(lambda s: s.pair(s.images, np.full(16, 0.1, np.float32), axis=1))
    return "channel-activation", PLAIN, "x.q", wrong, clean()


def decoded(place: str) -> ir.Model:
    s = Sketch()
    x = s.relu(s.layer(s.pair(s.images), "head"))
    boxes = s.reshape(s.layer(x, "boxes", quantized=False, outputs=4), (4, 64), name="flat")
    scores = s.reshape(s.layer(x, "classes", quantized=False), (16, 64), name="flat")
    scores = s.elementwise("Sigmoid", scores, name="scores")
    if place == "boxes":
        boxes = s.pair(boxes, name="y")
    if place == "sides":
        boxes, scores = s.pair(boxes, 5.0, name="b"), s.pair(scores, 5.0, name="s")
    x = s.op("Concat", boxes, scores, name="columns", axis=1, shape=(1, 20, 64))
    return s.raw({"outputs": s.pair(x, 5.0, name="y") if place == "concat" else x})


@case
def quantized_decode() -> Case:
    return "decode", PLAIN, "y.q", decoded("boxes"), decoded("none")


@case
def boxes_and_scores() -> Case:
    return "boxes-and-scores", PLAIN, "y.q", decoded("concat"), decoded("boxes")


@case
def boxes_and_scores_on_their_sides() -> Case:
    return "boxes-and-scores", PLAIN, "columns", decoded("sides"), decoded("none")


def nodes(model: ir.Model, target: Target, rule: str) -> list[str]:
    found = lint(model, target, amx=False).findings
    return [finding.node for finding in found if finding.rule == rule]


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_found_and_the_mended_graph_is_free_of_it(name: str) -> None:
    rule, target, node, wrong, right = CASES[name]()
    assert node in nodes(wrong, target, rule)
    assert nodes(right, target, rule) == []


def test_every_rule_has_a_case() -> None:
    assert {build()[0] for build in CASES.values()} == {rule.name for rule in RULES}


def test_a_clean_graph_has_no_findings() -> None:
    for target in (PLAIN, OLD):
        found = lint(clean(stored=target is PLAIN), target, amx=False)
        assert found.findings == ()


def test_cpu_engines_take_uint8_and_int32_biases() -> None:
    s = Sketch()
    codes = s.constant("bias", np.ones(16, np.int32))
    bias = s.op("DequantizeLinear", codes, s.constant("b", np.full((), 0.1, np.float32)))
    x = s.relu(s.layer(s.pair(s.images, dtype=np.uint8, zero=128), bias=bias))
    model = s.done(s.pair(x, dtype=np.uint8, name="y"))
    for target in (ORT, OPENVINO):
        assert [f for f in lint(model, target).findings if f.severity == "error"] == []


def test_findings_say_source_and_remedy() -> None:
    assert all(rule.source and rule.remedy for rule in RULES)
    assert len({rule.name for rule in RULES}) == len(RULES)
