import weakref
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from detq.errors import ModelError, UnsupportedOperatorError
from detq.graph.build import DECODE, STAGE, Builder
from detq.graph.execute import compile_slice, exact_float32, execute, parameters
from detq.graph.ops import TABLE
from detq.model import FloatModel
from tests.engines import assert_within_range, in_interpreter, in_onnxruntime
from tests.zoo import ZOO, tiny_detector


def images(model: FloatModel, count: int = 2) -> NDArray[np.float32]:
    shape = (count, 3, *model.detector.size)
    return np.random.default_rng(0).random(shape, np.float32)


@pytest.mark.parametrize("name", ZOO)
def test_agrees_with_onnxruntime(name: str) -> None:
    model = ZOO[name]()
    feeds = {"images": images(model)}
    wanted = in_onnxruntime(model.graph, feeds)["outputs"]
    assert_within_range(in_interpreter(model.graph, feeds)["outputs"], wanted, 1e-5)


def test_leaves_the_graph_alone() -> None:
    model = tiny_detector()
    before = ir.to_proto(model.graph).SerializeToString(deterministic=True)
    program = compile_slice(model.graph.graph, ["images"])
    params = parameters(program)
    execute(program, {"images": torch.ones(1, 3, 64, 64)}, params)
    for tensor in params.values():
        tensor.zero_()  # a learner may do as it likes with its own copy
    assert ir.to_proto(model.graph).SerializeToString(deterministic=True) == before


def test_the_same_arguments_give_the_same_bits() -> None:
    model = tiny_detector()
    feeds = {"images": images(model)}
    first, second = (in_interpreter(model.graph, feeds)["outputs"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_network_cut_in_two_is_the_whole() -> None:
    model = tiny_detector()
    graph = model.graph.graph
    x = torch.from_numpy(images(model))
    cuts = _values_between(graph, "neck", "head")
    assert len(cuts) == 3

    whole = compile_slice(graph, ["images"], ["outputs", *cuts])
    wanted = execute(whole, {"images": x}, parameters(whole))
    back = compile_slice(graph, cuts, ["outputs"])
    assert len(back.steps) < len(whole.steps) / 2
    found = execute(back, {name: wanted[name] for name in cuts}, parameters(back))
    assert torch.equal(found["outputs"], wanted["outputs"])


def _values_between(graph: ir.Graph, before: str, after: str) -> list[str]:
    return [
        str(value.name)
        for node in graph
        if node.metadata_props[STAGE] == before
        for value in node.outputs
        if any(reader.metadata_props[STAGE] == after for reader in value.consumers())
    ]


def test_a_fed_value_wins_over_what_would_make_it() -> None:
    graph = _chain(3).graph
    program = compile_slice(graph, ["images", "relu_1"], ["relu", "outputs"])
    ones, twos = torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 2.0)
    found = execute(program, {"images": ones, "relu_1": twos}, parameters(program))
    assert torch.equal(found["relu"], ones)
    assert torch.equal(found["outputs"], twos)


def test_feeds_and_weights_can_be_outputs() -> None:
    b = Builder("net")
    x = b.input("images", [1, 2, 4, 4])
    y = b.conv(x, np.ones((3, 2, 1, 1), np.float32))
    graph = b.finish({"outputs": y}).graph
    program = compile_slice(graph, ["images"], ["images", "conv.weight"])
    fed = torch.rand(1, 2, 4, 4)
    found = execute(program, {"images": fed}, parameters(program))
    assert found["images"] is fed
    assert torch.equal(found["conv.weight"], torch.ones(3, 2, 1, 1))


def test_a_tap_sees_every_value_once_and_may_replace_it() -> None:
    graph = _chain(3).graph
    program = compile_slice(graph, ["images"])
    seen = []

    def tap(name: str, tensor: Tensor) -> Tensor:
        seen.append(name)
        return tensor + 1 if name == "relu" else tensor

    found = execute(program, {"images": torch.zeros(1, 1, 2, 2)}, {}, tap=tap)
    assert seen == ["images", "relu", "relu_1", "outputs"]
    assert torch.equal(found["outputs"], torch.ones(1, 1, 2, 2))


def _chain(length: int) -> ir.Model:
    b = Builder("chain")
    x = b.input("images", [1, 1, 2, 2])
    for _ in range(length):
        x = b.elementwise("Relu", x)
    return b.finish({"outputs": x})


def _alive_at_each_step(graph: ir.Graph, feed: Tensor) -> list[int]:
    program = compile_slice(graph, ["images"])
    made: list[weakref.ref[Tensor]] = []
    counts = []

    def tap(name: str, tensor: Tensor) -> Tensor:
        made.append(weakref.ref(tensor))
        counts.append(sum(ref() is not None for ref in made))
        return tensor

    with torch.no_grad():
        found = execute(program, {"images": feed}, parameters(program), tap=tap)
    assert sum(ref() is not None for ref in made) == len(found) + 1  # the caller's feed
    return counts


def test_a_value_is_freed_after_its_last_use() -> None:
    counts = _alive_at_each_step(_chain(20).graph, torch.ones(1, 1, 2, 2))
    assert len(counts) == 21
    assert max(counts) <= 3  # the feed, the input and the output of the step


def test_a_skip_connection_lives_until_it_is_added() -> None:
    b = Builder("skip")
    x = first = b.elementwise("Relu", b.input("images", [1, 1, 2, 2]))
    for _ in range(10):
        x = b.elementwise("Sigmoid", x)
    x = b.elementwise("Add", x, first)
    for _ in range(10):
        x = b.elementwise("Sigmoid", x)
    counts = _alive_at_each_step(b.finish({"outputs": x}).graph, torch.ones(1, 1, 2, 2))
    assert counts[5:12] == [4] * 7
    assert counts[15:] == [3] * (len(counts) - 15)


def test_a_gradient_reaches_every_weight_of_the_network() -> None:
    model = tiny_detector()
    program = compile_slice(model.graph.graph, ["images"])
    params = parameters(program, dtype=torch.float64)
    learned = [
        str(node.inputs[1].name)
        for node in model.graph.graph
        if node.op_type == "Conv" and node.metadata_props[STAGE] != DECODE and node.inputs[1]
    ]
    overrides = {name: params[name].requires_grad_() for name in learned}
    x = torch.from_numpy(images(model)).double()
    execute(program, {"images": x}, {**params, **overrides})["outputs"].square().mean().backward()
    for name, tensor in overrides.items():
        assert tensor.grad is not None, name
        assert tensor.grad.abs().max() > 0, name


def test_the_gradient_is_the_slope() -> None:
    model = ZOO["repvgg"]()
    program = compile_slice(model.graph.graph, ["images"])
    params = parameters(program, dtype=torch.float64)
    x = torch.from_numpy(images(model)).double()
    name = "block.rbr_dense.conv.weight"
    way = torch.randn(params[name].shape, generator=torch.Generator().manual_seed(0)).double()

    def loss(step: float | Tensor) -> Tensor:
        moved = {**params, name: params[name] + step * way}
        return execute(program, {"images": x}, moved)["outputs"].square().mean()

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    loss(step).backward()
    assert step.grad is not None
    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert step.grad.item() == pytest.approx(slope.item(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parameters_take_the_type_but_integers_keep_theirs(dtype: torch.dtype) -> None:
    params = parameters(compile_slice(tiny_detector().graph.graph, ["images"]), dtype=dtype)
    assert {tensor.dtype for tensor in params.values()} == {dtype, torch.int64}


def _network(body: Callable[[Builder, ir.Value], ir.Value]) -> ir.Graph:
    b = Builder("net")
    x = b.input("images", [1, 2, 4, 4])
    with b.scope("neck.fuse"), b.block("Fuse"):
        y = body(b, x)
    return b.finish({"outputs": y}).graph


def test_an_unknown_operator_is_named_with_its_block() -> None:
    graph = _network(lambda b, x: b.op("RandomNormalLike", x))
    with pytest.raises(UnsupportedOperatorError) as caught:
        compile_slice(graph, ["images"])
    assert str(caught.value) == (
        "neck.fuse: operator ONNX RandomNormalLike is not known "
        "(add a function to detq/graph/ops.py)"
    )


def test_an_operator_of_another_domain_is_unknown() -> None:
    graph = _network(lambda b, x: b.elementwise("Relu", x))
    graph[0].domain = "com.microsoft"
    with pytest.raises(UnsupportedOperatorError, match=r"operator com\.microsoft Relu is not"):
        compile_slice(graph, ["images"])


def test_a_table_without_the_operator_is_enough_to_miss_it() -> None:
    table = {name: function for name, function in TABLE.items() if name != "Relu"}
    with pytest.raises(UnsupportedOperatorError, match="Relu"):
        compile_slice(_chain(1).graph, ["images"], table=table)


FORMS: dict[str, Callable[[Builder, ir.Value], ir.Value]] = {
    "auto_pad=SAME_UPPER": lambda b, x: b.op(
        "MaxPool", x, kernel_shape=[3, 3], auto_pad="SAME_UPPER"
    ),
    "unexpected keyword argument 'beta'": lambda b, x: b.op("Relu", x, beta=1.0),
}


@pytest.mark.parametrize("words", FORMS)
def test_an_unknown_form_is_one_line_with_the_node(words: str) -> None:
    program = compile_slice(_network(FORMS[words]), ["images"])
    with pytest.raises(UnsupportedOperatorError) as caught:
        execute(program, {"images": torch.ones(1, 2, 4, 4)}, {})
    assert words in str(caught.value)
    assert str(caught.value).startswith(("outputs: ", "neck.fuse."))
    assert "\n" not in str(caught.value)


def test_a_second_output_that_is_not_made_is_refused() -> None:
    graph = _network(lambda b, x: b.op("MaxPool", x, kernel_shape=[2, 2]))
    node = graph[0]
    node.resize_outputs(2)
    node.outputs[1].name = "indices"
    program = compile_slice(graph, ["images"])
    with pytest.raises(UnsupportedOperatorError, match="MaxPool with 2 outputs"):
        execute(program, {"images": torch.ones(1, 2, 4, 4)}, {})


@pytest.mark.parametrize(("feeds", "outputs"), [(["images", "typo"], None), (["images"], ["typo"])])
def test_a_name_that_is_not_there_is_said(feeds: list[str], outputs: list[str] | None) -> None:
    with pytest.raises(ModelError, match="typo: no value of this name in the graph"):
        compile_slice(_chain(1).graph, feeds, outputs)


def test_an_input_that_is_needed_must_be_fed() -> None:
    with pytest.raises(ModelError, match="images: graph input is needed but not given"):
        compile_slice(_chain(2).graph, [])


def test_exact_float32_puts_the_switches_back() -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = True
        with pytest.raises(ValueError, match="inside"), exact_float32():
            assert (matmul.allow_tf32, cudnn.allow_tf32) == (False, False)
            raise ValueError("inside")
        assert (matmul.allow_tf32, cudnn.allow_tf32) == (True, True)
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
