from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from hypothesis import event, given, settings
from hypothesis import strategies as st
from torch import Tensor

from detq.graph.build import Builder
from detq.graph.execute import compile_slice, execute, parameters
from detq.transforms.linear import LinearForm, has_branches, has_convolution, linear_form
from tests.block_writer import Writer
from tests.zoo import ZOO

CHANNELS = 4
Draw = Callable[[st.SearchStrategy[Any]], Any]


def computed(graph: ir.Graph, source: str, name: str, x: Tensor) -> Tensor:
    """The value ``name`` of the graph as it stands, in float64."""
    program = compile_slice(graph, [source], [name])
    return execute(program, {source: x}, parameters(program, dtype=torch.float64))[name]


def as_convolution(form: LinearForm, x: Tensor) -> Tensor:
    (top, left), (bottom, right) = form.before, form.after
    padded = F.pad(x, (left, right, top, bottom))
    weight, bias = torch.from_numpy(form.weight), torch.from_numpy(form.bias)
    return F.conv2d(padded, weight, bias, form.stride, 0, form.dilation, form.groups)


def assert_same(form: LinearForm, graph: ir.Graph, root: ir.Value) -> None:
    channels = form.weight.shape[1] * form.groups
    for height, width in ((9, 12), (12, 9)):
        x = torch.from_numpy(np.random.default_rng(1).standard_normal((2, channels, height, width)))
        wanted = computed(graph, str(form.source.name), str(root.name), x)
        got = as_convolution(form, x)
        assert got.shape == wanted.shape
        assert (got - wanted).abs().max() <= 1e-10 * wanted.abs().max()


@dataclass(frozen=True)
class Branch:
    """One way from the source to the sum."""

    kind: str
    kernel: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    groups: int
    norm: bool
    scale: bool

    @property
    def after(self) -> tuple[int, int]:
        # As much as keeps the size at stride 1.
        return tuple(
            d * (k - 1) - p for k, d, p in zip(self.kernel, self.dilation, self.before, strict=True)
        )  # type: ignore[return-value]


@st.composite
def branches(draw: Draw, kinds: Sequence[str]) -> Branch:
    kind = draw(st.sampled_from(kinds))
    kernel = draw(st.tuples(*[st.sampled_from([1, 2, 3, 5] if kind == "conv" else [1, 2, 3])] * 2))
    dilation = draw(st.tuples(*[st.sampled_from([1, 1, 2, 3])] * 2)) if kind == "conv" else (1, 1)
    before = tuple(draw(st.integers(0, d * (k - 1))) for k, d in zip(kernel, dilation, strict=True))
    return Branch(
        kind, kernel, dilation, before, draw(st.sampled_from([1, 2, 4])),
        draw(st.booleans()), draw(st.booleans()),
    )  # fmt: skip


def _write(w: Writer, x: ir.Value, branch: Branch, out: int, stride: int) -> ir.Value:
    y = x
    window = {"strides": [stride, stride], "pads": [*branch.before, *branch.after]}
    size = [-(-int(n) // stride) for n in x.shape[2:]]
    if branch.kind == "conv":
        weight = w.constant("weight", w.weight(out, CHANNELS // branch.groups, *branch.kernel))
        bias = w.constant("bias", w.vector(out, -1, 1)) if branch.norm else None
        y = w.op(
            "Conv", x, weight, bias, shape=("n", out, *size), dilations=list(branch.dilation),
            group=branch.groups, **window,
        )  # fmt: skip
    elif branch.kind == "average":
        y = w.op(
            "AveragePool", x, shape=("n", out, *size), kernel_shape=list(branch.kernel),
            count_include_pad=1, **window,
        )  # fmt: skip
    if branch.scale:
        y = w.scale(y, "scale")
    return w.norm(y) if branch.norm else y


@st.composite
def sums(draw: Draw) -> tuple[Writer, ir.Value, list[Branch]]:
    """Branches added in pairs or all at once, sums of sums, a norm over it or none."""
    out, stride = draw(st.sampled_from([(4, 1), (4, 1), (8, 1), (4, 2)]))
    through = ["conv", "average", "identity"] if (out, stride) == (4, 1) else ["conv"]
    drawn = [draw(branches(["conv"]))]
    drawn += draw(st.lists(branches(through), min_size=1, max_size=4))
    w = Writer("sum", draw(st.integers(0, 9)))
    x = w.input("images", ["n", CHANNELS, 12, 12])
    ways = [_write(w, x, branch, out, stride) for branch in drawn]
    while len(ways) > 1:
        count = draw(st.integers(2, len(ways)))
        parts, ways = ways[:count], ways[count:]
        ways.append(w.elementwise("Add" if count == 2 else "Sum", *parts))
        if draw(st.booleans()):
            ways[-1] = w.norm(ways[-1])
    return w, ways[0], drawn


@given(sums())
@settings(max_examples=150)
def test_any_sum_of_branches_is_one_convolution(
    case: tuple[Writer, ir.Value, list[Branch]],
) -> None:
    w, root, drawn = case
    graph = w.finish({"outputs": root}).graph
    form = linear_form(root, branches=True)
    if all(branch.dilation == (1, 1) for branch in drawn):
        assert form is not None
        assert set(form.nodes) == set(graph)
    event("merged" if form is not None else "left alone")
    if form is not None:
        assert_same(form, graph, root)


def _forms(graph: ir.Graph) -> list[tuple[LinearForm, ir.Value]]:
    found = [(linear_form(node.outputs[0], branches=True), node.outputs[0]) for node in graph]
    return [(form, root) for form, root in found if form is not None and len(form.nodes) > 1]


@pytest.mark.parametrize("name", ZOO)
def test_every_form_in_the_zoo_is_the_graph_it_stands_for(name: str) -> None:
    graph = ZOO[name]().graph.graph
    forms = _forms(graph)
    assert forms
    for form, root in forms:
        assert_same(form, graph, root)


def _sum_of(*makers: Callable[[Writer, ir.Value], ir.Value]) -> tuple[ir.Graph, ir.Value]:
    w = Writer("sum", 0)
    x = w.input("images", ["n", CHANNELS, 12, 12])
    root = w.elementwise("Sum", *(make(w, x) for make in makers))
    return w.finish({"outputs": root}).graph, root


def _conv(**options: Any) -> Callable[[Writer, ir.Value], ir.Value]:
    def make(w: Writer, x: ir.Value) -> ir.Value:
        shape = options.get("shape", (3, 3))
        return w.op(
            "Conv", x, w.constant("w", w.weight(4, 4, *shape)), shape=("n", 4, None, None),
            **{key: value for key, value in options.items() if key != "shape"},
        )  # fmt: skip

    return make


def _average(**options: Any) -> Callable[[Writer, ir.Value], ir.Value]:
    return lambda w, x: w.op("AveragePool", x, shape=("n", 4, 12, 12), **options)


SAME = _conv(pads=[1, 1, 1, 1])
LEFT_ALONE = {
    "taps between the taps": (
        _conv(dilations=[2, 2], pads=[2, 2, 2, 2]),
        _conv(shape=(2, 2), dilations=[2, 2], pads=[1, 1, 1, 1]),
    ),
    "two dilations": (SAME, _conv(dilations=[2, 2], pads=[2, 2, 2, 2])),
    "sizes that agree for even images only": (
        _conv(pads=[1, 1, 1, 1], strides=[2, 2]),
        _conv(shape=(2, 2), strides=[2, 2]),
    ),
    "two strides on one pixel": (
        _conv(pads=[1, 1, 1, 1], strides=[2, 2]),
        _conv(pads=[1, 1, 1, 1], strides=[1, 2]),
    ),
    "auto_pad": (SAME, _conv(auto_pad="SAME_UPPER")),
    "average that does not count its padding": (
        SAME,
        _average(kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    ),
    "padding behind that is not counted": (
        SAME,
        _average(kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
    ),
    "average with auto_pad": (
        SAME,
        _average(kernel_shape=[3, 3], auto_pad="SAME_UPPER", count_include_pad=1),
    ),
    "average that rounds its size up": (
        SAME,
        _average(kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1, ceil_mode=1),
    ),
    "dilated average": (
        SAME,
        _average(kernel_shape=[2, 2], dilations=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
    ),
    "not linear": (SAME, lambda w, x: w.relu(SAME(w, x))),
    "another source": (SAME, lambda w, x: SAME(w, w.relu(x))),
    "a rounded branch": (SAME, lambda w, x: w.op("HardSigmoid", x, shape=("n", 4, 12, 12))),
}


@pytest.mark.parametrize("why", LEFT_ALONE)
def test_what_does_not_align_is_left_alone(why: str) -> None:
    _, root = _sum_of(*LEFT_ALONE[why])
    assert linear_form(root, branches=True) is None


def test_different_sizes_of_padding_align() -> None:
    corner = _conv(shape=(2, 2), pads=[0, 0, 1, 1])
    other = _conv(shape=(2, 2), pads=[1, 1, 0, 0])
    graph, root = _sum_of(corner, other, lambda w, x: x)
    form = linear_form(root, branches=True)
    assert form is not None
    assert form.weight.shape == (4, 4, 3, 3)
    assert (form.before, form.after) == ((1, 1), (1, 1))
    assert_same(form, graph, root)


def test_groups_meet_at_their_common_divisor() -> None:
    def grouped(groups: int) -> Callable[[Writer, ir.Value], ir.Value]:
        return lambda w, x: w.plain_conv(x, 12, 3, groups=groups)

    w = Writer("sum", 0)
    x = w.input("images", ["n", 12, 12, 12])
    root = w.elementwise("Sum", grouped(4)(w, x), grouped(6)(w, x), x)
    graph = w.finish({"outputs": root}).graph
    form = linear_form(root, branches=True)
    assert form is not None
    assert form.groups == 2
    assert_same(form, graph, root)


def test_without_branches_a_sum_is_not_linear() -> None:
    _, root = _sum_of(SAME, SAME)
    assert linear_form(root, branches=False) is None
    form = linear_form(root, branches=True)
    assert form is not None
    assert has_branches(form)
    assert has_convolution(form)


def test_scales_and_shifts_by_constants_are_no_branches() -> None:
    w = Writer("chain", 0)
    x = w.plain_conv(w.input("images", ["n", 3, 12, 12]), 4, 3, bias=True)
    x = w.elementwise("Mul", x, w.constant("alpha", np.array([0.3], np.float32)))
    x = w.elementwise("Add", w.constant("beta", w.vector(4, -1, 1).reshape(1, 4, 1, 1)), x)
    x = w.elementwise("Mul", x, w.constant("gamma", np.array(-2, np.float32)))
    graph = w.finish({"outputs": x}).graph
    form = linear_form(x, branches=False)
    assert form is not None
    assert len(form.nodes) == 4
    assert not has_branches(form)
    assert_same(form, graph, x)


@pytest.mark.parametrize("shape", [(12,), (1, 1, 1, 12), (1, 4, 12, 1), (1, 4, 12, 12)])
def test_a_constant_that_varies_within_a_channel_is_no_scale(shape: tuple[int, ...]) -> None:
    w = Writer("chain", 0)
    x = w.plain_conv(w.input("images", ["n", 3, 12, 12]), 4, 3)
    y = w.elementwise("Mul", x, w.constant("mask", np.ones(shape, np.float32)))
    assert linear_form(y, branches=True) is None


def test_weights_that_are_computed_are_left_alone() -> None:
    b = Builder("dynamic")
    x, weight = b.input("images", ["n", 3, 12, 12]), b.input("weight", [4, 3, 1, 1])
    y = b.op("Conv", x, weight, shape=("n", 4, 12, 12))
    assert linear_form(y, branches=True) is None
