from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from syrupy.assertion import SnapshotAssertion

from detq.detection import Detector
from detq.errors import NotEquivalentError, RecipeError
from detq.graph.build import BLOCK, STAGE
from detq.graph.execute import compile_slice, execute, parameters
from detq.model import FloatModel
from detq.transforms import DEFAULT, TRANSFORMS, linear, transform
from detq.transforms.linear import LinearForm
from tests.block_writer import Writer
from tests.zoo import ZOO, network, tiny_detector

# Merging is exact in float64, see test_linear; the file keeps float32 weights.
ROUNDED_WEIGHTS = 3e-7


def outputs(model: FloatModel) -> torch.Tensor:
    shape = (2, 3, *model.detector.size)
    x = torch.from_numpy(np.random.default_rng(0).random(shape))
    program = compile_slice(model.graph.graph, ["images"])
    params = parameters(program, dtype=torch.float64)
    return execute(program, {"images": x}, params)["outputs"]


def assert_same_function(before: FloatModel, after: FloatModel, tolerance: float) -> None:
    wanted, got = outputs(before), outputs(after)
    assert (got - wanted).abs().max() <= tolerance * (wanted.max() - wanted.min())


def content(model: FloatModel) -> bytes:
    return ir.to_proto(model.graph).SerializeToString(deterministic=True)


def operators(model: FloatModel) -> list[str]:
    return [node.op_type for node in model.graph.graph]


@pytest.mark.parametrize("name", ZOO)
def test_the_function_stays(name: str) -> None:
    model = ZOO[name]()
    before = content(model)
    merged = transform(model, DEFAULT)
    assert content(model) == before
    assert_same_function(model, merged, ROUNDED_WEIGHTS)
    assert "BatchNormalization" not in operators(merged)
    assert "Sum" not in operators(merged)
    onnx.checker.check_model(ir.to_proto(merged.graph), full_check=True)


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("step", TRANSFORMS)
def test_each_transform_alone_keeps_the_function_and_is_done_once(name: str, step: str) -> None:
    model = ZOO[name]()
    once = transform(model, [step])
    assert_same_function(model, once, ROUNDED_WEIGHTS)
    assert content(transform(once, [step])) == content(once)


@pytest.mark.parametrize("name", ZOO)
def test_what_is_in_the_merged_network(name: str, snapshot: SnapshotAssertion) -> None:
    merged = transform(ZOO[name](), DEFAULT)
    assert [_line(node) for node in merged.graph.graph] == snapshot


def _line(node: ir.Node) -> str:
    marks = node.metadata_props
    return f"{node.op_type:14} {node.name} | {marks.get(BLOCK, '')} | {marks[STAGE]}"


def test_the_product_merges_branches_first() -> None:
    assert DEFAULT == ("reparameterize", "fold_bn")


def test_blocks_and_stages_survive() -> None:
    model = tiny_detector()
    merged = transform(model, DEFAULT)
    assert merged.stages == model.stages
    assert [block.name for block in merged.blocks] == [block.name for block in model.blocks]
    for block in merged.blocks:
        assert [node.op_type for node in block.nodes][:1] == ["Conv"]
        assert len(block.nodes) <= 3


def test_weights_go_with_their_branches() -> None:
    merged = transform(ZOO["repvgg"](), DEFAULT)
    assert sorted(merged.graph.graph.initializers) == [
        "block.conv.bias", "block.conv.weight", "pred.bias", "pred.weight",
        "stem.conv.bias", "stem.conv.weight",
    ]  # fmt: skip


def test_merging_rounds_once() -> None:
    # A chain of float32 steps would differ from the float64 result in the last bit.
    model = ZOO["repvgg"]()
    merged = transform(model, ["reparameterize"])
    relu = next(node for node in model.graph.graph if node.name == "block.relu")
    assert relu.inputs[0] is not None
    form = linear.linear_form(relu.inputs[0], branches=True)
    assert form is not None
    weight = merged.graph.graph.initializers["block.conv.weight"].const_value
    assert weight is not None
    np.testing.assert_array_equal(weight.numpy(), form.weight.astype(np.float32))


def _break_bias(form: LinearForm | None) -> LinearForm | None:
    if form is not None:
        form.bias[0] += 1e-6
    return form


@pytest.mark.parametrize("step", ["reparameterize", "fold_bn"])
def test_a_broken_merge_is_noticed_and_named(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ZOO["repvgg"]()
    right = linear._READERS["BatchNormalization"]
    broken: Mapping[str, object] = {
        **linear._READERS,
        "BatchNormalization": lambda node, branches: _break_bias(right(node, branches)),
    }
    monkeypatch.setattr(linear, "_READERS", broken)
    with pytest.raises(NotEquivalentError) as caught:
        transform(model, [step])
    assert str(caught.value).startswith(f"block: {step} changed the output by")
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_noticed() -> None:
    model = ZOO["conv_bn"]()
    gain = model.graph.graph.initializers["block.bn.weight"]
    assert gain.const_value is not None
    array = gain.const_value.numpy().copy()
    array[0] = np.nan
    gain.const_value = ir.tensor(array, name=gain.name)
    with pytest.raises(NotEquivalentError, match="block"):
        transform(model, DEFAULT)


def test_an_unknown_transform_is_said() -> None:
    with pytest.raises(RecipeError, match="no transform called fuse"):
        transform(tiny_detector(), ["fuse"])


def _model(w: Writer, outputs: Mapping[str, ir.Value]) -> FloatModel:
    return FloatModel(
        w.finish(outputs), Detector(family="", names=("a",), strides=(1,), size=(16, 16))
    )


def test_a_branch_that_is_read_twice_is_left_alone() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        shared = w.conv_bn(x, 8, 3, name="shared")
        joined = w.elementwise("Add", shared, w.conv_bn(x, 8, 1, name="own"))
        return w.elementwise("Mul", joined, w.elementwise("Sigmoid", shared))

    model = network(body)
    merged = transform(model, DEFAULT)
    assert "Add" in operators(merged)
    names = [str(node.name) for node in merged.graph.graph]
    assert {"shared", "own"} <= set(names)
    assert_same_function(model, merged, ROUNDED_WEIGHTS)


def test_a_branch_that_is_an_output_is_left_alone() -> None:
    w = Writer("net", 0)
    x = w.input("images", ["batch", 3, 16, 16])
    branch = w.conv_bn(x, 8, 3, name="branch")
    total = w.elementwise("Add", branch, w.conv_bn(x, 8, 1, name="own"))
    model = _model(w, {"outputs": total, "extra": branch})
    merged = transform(model, DEFAULT)
    assert [str(value.name) for value in merged.graph.graph.outputs] == ["outputs", "extra"]
    assert operators(merged) == ["Conv", "Conv", "Add"]
    assert_same_function(model, merged, ROUNDED_WEIGHTS)


def test_a_merged_output_keeps_its_name() -> None:
    w = Writer("net", 0)
    x = w.input("images", ["batch", 3, 16, 16])
    total = w.elementwise("Add", w.conv_bn(x, 3, 3, name="conv"), x)
    merged = transform(_model(w, {"outputs": total}), DEFAULT)
    assert operators(merged) == ["Conv"]
    assert [str(value.name) for value in merged.graph.graph.outputs] == ["outputs"]


def _share(model: FloatModel, first: str, second: str) -> None:
    """Let the second convolution read the weights of the first, as a shared module does."""
    nodes = {str(node.name): node for node in model.graph.graph}
    dropped = nodes[second].inputs[1]
    nodes[second].replace_input_with(1, nodes[first].inputs[1])
    assert dropped is not None
    del model.graph.graph.initializers[str(dropped.name)]


@pytest.mark.parametrize("kept", ["first.conv", "second.conv"])
def test_weights_that_two_layers_share_stay_with_the_other(kept: str) -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        for name in ("first", "second"):
            with w.scope(name):
                y = w.plain_conv(x, 8, 3)
                x = w.relu(y if f"{name}.conv" == kept else w.norm(y))
        return x

    model = network(body)
    _share(model, "first.conv", "second.conv")
    merged = transform(model, DEFAULT)
    assert_same_function(model, merged, ROUNDED_WEIGHTS)
    onnx.checker.check_model(ir.to_proto(merged.graph), full_check=True)


def test_names_do_not_collide() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        for _ in range(3):
            x = w.elementwise("Add", w.conv_bn(x, 8, 3, name="left"), w.norm(x, "right"))
            x = w.relu(x)
        return x

    model = network(body)
    merged = transform(model, DEFAULT)
    names = [str(node.name) for node in merged.graph.graph]
    assert len(set(names)) == len(names)
    assert_same_function(model, merged, ROUNDED_WEIGHTS)
