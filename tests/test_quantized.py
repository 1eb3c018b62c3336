from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from detq.graph.execute import compile_slice, execute, parameters
from detq.graph.files import load_model, save_model
from detq.model import FloatModel
from detq.numerics import WEIGHTS_7_BIT, round_to_grid
from detq.placement import place
from detq.quantized import QuantizedModel, quantize, scales_of, weights_of
from detq.ranges.weights import WEIGHT_RANGES
from detq.stats import Range
from detq.target import PLAIN, Target, with_grids
from tests.block_writer import Writer
from tests.engines import in_interpreter, in_onnxruntime
from tests.steps import UNSIGNED, images, merged, quantized
from tests.zoo import ZOO, network

NARROW = Target("narrow", weights=WEIGHTS_7_BIT)
SHIFTED = Target("shifted", unsigned_activations=True, shifted_activations=True)
TARGETS = {"signed": PLAIN, "unsigned": UNSIGNED, "shifted": SHIFTED, "narrow": NARROW}


def content(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString(deterministic=True)


def nodes(model: QuantizedModel, operator: str) -> list[ir.Node]:
    return [node for node in model.graph.graph if node.op_type == operator]


@pytest.mark.parametrize("name", ZOO)
def test_leaves_the_float_graph_alone(name: str) -> None:
    model = merged(name)
    before = content(model.graph)
    first, second = quantized(model), quantized(model)
    assert content(model.graph) == before
    assert content(first.graph) == content(second.graph)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("name", ZOO)
def test_every_point_has_one_pair_and_its_readers(name: str, target: Target) -> None:
    model = quantized(merged(name), target)
    pairs = {str(q.inputs[0].name): q for q in nodes(model, "QuantizeLinear") if q.inputs[0]}
    assert list(pairs) == [point.value for point in model.placement.points]
    for point in model.placement.points:
        (dq,) = pairs[point.value].outputs[0].consumers()
        assert dq.op_type == "DequantizeLinear"
        assert dq.inputs[1:] == pairs[point.value].inputs[1:]
        assert sorted({n.name for n in dq.outputs[0].consumers()}) == sorted(point.consumers)
        zero = dq.inputs[2]
        assert zero is not None
        assert zero.dtype == ir.DataType.from_numpy(point.grid.dtype)
        assert zero.const_value is not None
        assert int(zero.const_value.numpy()) == point.grid.zero_point
        assert point.grid.shifted is (point.grid.signed and target.shifted_activations)


@pytest.mark.parametrize("name", ZOO)
def test_other_readers_keep_the_float_tensor(name: str) -> None:
    before, after = merged(name), quantized(merged(name))
    rounded = {(p.value, reader) for p in after.placement.points for reader in p.consumers}
    old = {str(node.name): node for node in before.graph.graph}
    for node in after.graph.graph:
        if node.name not in old:
            continue
        for x, now in zip(old[str(node.name)].inputs, node.inputs, strict=True):
            if x is None or x.const_value is not None:
                continue
            assert now is not None
            came = f"{x.name}.dequantize" if (x.name, node.name) in rounded else x.name
            assert now.name == came


def test_members_of_a_tie_group_read_one_scale() -> None:
    model = quantized(merged("tiny_detector"))
    scale = {str(q.inputs[0].name): q.inputs[1] for q in nodes(model, "QuantizeLinear")}  # type: ignore[union-attr]
    sizes = []
    for group, members in model.placement.groups.items():
        shared = {scale[point.value] for point in members}
        assert {str(value.name) for value in shared if value} == {f"{group}.scale"}
        sizes.append(len(members))
    assert max(sizes) == 5
    assert len(set(scale.values())) == len(sizes)


def _integers(weights: NDArray[np.float32], axis: int | None, highest: int) -> NDArray[np.int8]:
    """Per channel in plain Python: one scale, division, half to even."""
    if axis is not None:
        channels = [_integers(w, None, highest) for w in np.moveaxis(weights, axis, 0)]
        return np.moveaxis(np.stack(channels), 0, axis)
    scale = np.float32(float(np.abs(weights).max()) / highest)
    return np.array([round(float(w / scale)) for w in weights.ravel()], np.int8).reshape(
        weights.shape
    )


@pytest.mark.parametrize(("target", "highest"), [(PLAIN, 127), (NARROW, 63)])
@pytest.mark.parametrize("name", ["bifpan", "lite", "tiny_detector"])
def test_integer_weights_are_the_rounded_float_weights(
    name: str, target: Target, highest: int
) -> None:
    model = merged(name)
    found = {
        key: (codes, scale) for key, codes, scale in weights_of(quantized(model, target).graph)
    }
    float_nodes = {str(node.name): node for node in model.graph.graph}
    layers = [layer for layer in place(model, target).layers if layer.int8]
    assert len(found) == len(layers)
    for layer in layers:
        stored = float_nodes[layer.node].inputs[1]
        assert stored is not None
        assert stored.const_value is not None
        codes, scale = found[str(stored.name)]
        weights = stored.const_value.numpy()
        np.testing.assert_array_equal(codes, _integers(weights, layer.axis, highest))
        assert codes.dtype == np.int8
        assert scale.shape == (() if layer.axis is None else (weights.shape[0],))
        assert scale.dtype == np.float32
        assert np.abs(codes.astype(int)).max() == highest


@pytest.mark.parametrize("name", ZOO)
def test_the_file_holds_the_same_bits(name: str, tmp_path: Path) -> None:
    model = quantized(merged(name))
    save_model(model.graph, tmp_path / "q.onnx")
    read = load_model(tmp_path / "q.onnx")
    wanted = list(weights_of(model.graph))
    assert len(wanted) == sum(layer.int8 for layer in model.placement.layers)
    for mine, theirs in zip(wanted, weights_of(read), strict=True):
        assert mine[0] == theirs[0]
        for a, b in zip(mine[1:], theirs[1:], strict=True):
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    mine_, theirs_ = scales_of(model.graph), scales_of(read)
    assert set(mine_) == {point.value for point in model.placement.points}
    assert {k: v.tobytes() for k, v in mine_.items()} == {
        k: v.tobytes() for k, v in theirs_.items()
    }
    onnx.checker.check_model(tmp_path / "q.onnx", full_check=True)


def _with_all_values(model: ir.Model) -> ir.Model:
    copy = model.clone()
    named = {value.name for value in copy.graph.outputs}
    copy.graph.outputs.extend(
        value for node in copy.graph for value in node.outputs if value.name not in named
    )
    return copy


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("name", ZOO)
def test_every_step_agrees_with_onnxruntime(name: str, target: Target) -> None:
    # Each step gets onnxruntime's own inputs: a tie that falls the other way because the
    # sums before it were added in another order is no difference of the step itself.
    model = quantized(merged(name), target)
    feeds = {"images": images(merged(name), seed=1)}
    recorded = {**in_onnxruntime(_with_all_values(model.graph), feeds), **feeds}
    seen = set()

    def compare(value: str, tensor: Tensor) -> Tensor:
        wanted = recorded[value]
        if wanted.dtype == np.float32:
            extent = np.ptp(wanted) or 1
            assert np.abs(tensor.numpy() - wanted).max() <= 1e-5 * extent, value
        else:
            np.testing.assert_array_equal(tensor.numpy(), wanted, err_msg=value)
        seen.add(value)
        return torch.from_numpy(wanted)

    program = compile_slice(model.graph.graph, ["images"])
    with torch.inference_mode():
        execute(program, {"images": torch.from_numpy(feeds["images"])}, parameters(program),
                tap=compare)  # fmt: skip
    assert seen == set(recorded)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("name", ZOO)
def test_the_whole_agrees_with_onnxruntime_and_is_near_the_float_model(
    name: str, target: Target
) -> None:
    model = quantized(merged(name), target)
    feeds = {"images": images(merged(name))}
    wanted = in_onnxruntime(model.graph, feeds)["outputs"]
    got = in_interpreter(model.graph, feeds)["outputs"]
    in_float = in_interpreter(merged(name).graph, feeds)["outputs"]
    extent = np.ptp(wanted)
    # A code that falls the other way on a tie moves what lies behind it by a step.
    assert np.mean(np.abs(got - wanted) <= 1e-5 * extent) >= 0.99
    assert np.abs(got - wanted).max() <= 0.01 * extent
    noise = 0.1 if target is NARROW else 0.05
    assert 0 < np.sqrt(np.mean((got - in_float) ** 2)) <= noise * in_float.std()


@pytest.mark.parametrize("name", ["bifpan", "silu", "tiny_detector"])
def test_storing_codes_shifted_changes_no_number(name: str) -> None:
    unsigned, shifted = (quantized(merged(name), target) for target in (UNSIGNED, SHIFTED))
    feeds = {"images": images(merged(name), seed=1)}
    one, other = (in_interpreter(model.graph, feeds)["outputs"] for model in (unsigned, shifted))
    np.testing.assert_array_equal(one, other)
    assert any(point.grid.shifted for point in shifted.placement.points)


def test_copying_adds_no_error() -> None:
    model = quantized(merged("tiny_detector"))
    graph = model.graph.graph
    joined = [
        point.value
        for point in model.placement.points
        if any(n.op_type in ("Concat", "MaxPool") and n.name == point.value for n in graph)
    ]
    assert len(joined) == 8
    wanted = [*joined, *(f"{name}.dequantize" for name in joined)]
    program = compile_slice(graph, ["images"], wanted)
    feed = torch.from_numpy(images(merged("tiny_detector")))
    found = execute(program, {"images": feed}, parameters(program))
    for name in joined:
        assert torch.equal(found[name], found[f"{name}.dequantize"])


def _with(model: FloatModel, name: str, array: NDArray[np.float32]) -> FloatModel:
    copy = model.graph.clone()
    copy.graph.initializers[name].const_value = ir.tensor(array, name=name)
    return FloatModel(copy, model.detector)


@pytest.mark.parametrize("dead", [slice(0, 2), slice(None)])
def test_a_dead_channel_is_harmless(dead: slice) -> None:
    model = merged("repvgg")
    weights = model.graph.graph.initializers["block.conv.weight"].const_value
    assert weights is not None
    array = weights.numpy().copy()
    array[dead] = 0
    model = _with(model, "block.conv.weight", array)
    q = quantized(model)
    codes, scale = {name: rest for name, *rest in weights_of(q.graph)}["block.conv.weight"]
    assert not codes[dead].any()
    assert np.isfinite(scale).all()
    assert (scale > 0).all()
    outputs = in_interpreter(q.graph, {"images": images(model)})["outputs"]
    in_float = in_interpreter(model.graph, {"images": images(model)})["outputs"]
    assert np.sqrt(np.mean((outputs - in_float) ** 2)) <= 0.05 * max(in_float.std(), 1e-3)


def test_a_dead_activation_is_harmless() -> None:
    model = merged("repvgg")
    model = _with(model, "stem.conv.weight", np.zeros((8, 3, 3, 3), np.float32))
    model = _with(model, "stem.conv.bias", np.full(8, -1, np.float32))
    q = quantized(model)
    assert scales_of(q.graph)["stem.relu"] == 1
    outputs = in_interpreter(q.graph, {"images": images(model)})["outputs"]
    in_float = in_interpreter(model.graph, {"images": images(model)})["outputs"]
    np.testing.assert_allclose(outputs, in_float, rtol=1e-6)


@pytest.mark.parametrize(("target", "steps"), [(PLAIN, 127), (UNSIGNED, 255)])
def test_the_largest_value_is_the_largest_integer(target: Target, steps: int) -> None:
    model = merged("repvgg")
    placement = place(model, target)
    q = quantize(model, placement, dict.fromkeys(placement.groups, Range(-0.5, 3.0)))
    assert scales_of(q.graph)["stem.relu"] == np.float32(3.0 / steps)


def test_a_negative_side_that_is_larger_sets_the_scale() -> None:
    model = merged("silu")
    placement = place(model, UNSIGNED)
    q = quantize(model, placement, dict.fromkeys(placement.groups, Range(-4.0, 3.0)))
    assert scales_of(q.graph)["head_stem.mul"] == np.float32(4.0 / 127)


@pytest.mark.parametrize(
    "in_float", [{}, {"first": ""}, {"second": ""}, {"first": "", "second": ""}]
)
def test_weights_that_two_layers_share(in_float: dict[str, str]) -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        return w.relu(w.plain_conv(w.relu(w.plain_conv(x, 8, name="first")), 8, name="second"))

    model = network(body)
    graph = model.graph.graph
    by_name = {str(node.name): node for node in graph}
    by_name["second"].replace_input_with(1, by_name["first"].inputs[1])
    del graph.initializers["second.weight"]
    q = quantized(model, float_layers=in_float)
    onnx.checker.check_model(ir.to_proto(q.graph), full_check=True)
    assert len(list(weights_of(q.graph))) == 3 - len(in_float)
    outputs = in_interpreter(q.graph, {"images": images(model)})["outputs"]
    wanted = in_interpreter(model.graph, {"images": images(model)})["outputs"]
    assert np.sqrt(np.mean((outputs - wanted) ** 2)) <= 0.05 * wanted.std()


def _coarse(weight_bits: int = 8, activation_bits: int = 8, per_tensor: bool = False) -> Target:
    return with_grids(
        PLAIN,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        per_tensor_weights=per_tensor,
    )


@pytest.mark.parametrize("bits", [4, 5, 6, 7])
def test_fewer_bits_are_saturated_in_the_graph(bits: int) -> None:
    model = merged("silu")
    placement = place(model, _coarse(bits, bits))
    q = quantize(model, placement, dict.fromkeys(placement.groups, Range(-0.1, 0.1)))
    onnx.checker.check_model(ir.to_proto(q.graph), full_check=True)
    for _, codes, _ in weights_of(q.graph):
        assert np.abs(codes.astype(int)).max() == 2 ** (bits - 1) - 1
    feeds = {"images": images(model, seed=1)}  # far beyond the range
    values = in_interpreter(_with_all_values(q.graph), feeds)
    scales, ends = scales_of(q.graph), []
    for point in q.placement.points:
        rounded = values[f"{point.value}.saturate"]
        codes = rounded / scales[point.value]
        assert np.abs(codes - round_to_grid(codes, np.float32(1))).max() <= 1e-4
        ends.append((float(codes.min()), float(codes.max())))
    assert min(low for low, _ in ends) == pytest.approx(-(2 ** (bits - 1)), abs=1e-4)
    assert max(high for _, high in ends) == pytest.approx(2 ** (bits - 1) - 1, abs=1e-4)
    readers = [node for node in q.graph.graph if node.op_type == "Clip"]
    assert {str(node.name) for node in readers} >= {
        f"{point.value}.saturate" for point in q.placement.points
    }


def test_a_full_grid_needs_no_clip() -> None:
    q = quantized(merged("tiny_detector"), _coarse())
    assert not [node for node in q.graph.graph if str(node.name).endswith(".saturate")]
    assert content(q.graph) == content(quantized(merged("tiny_detector")).graph)


def test_fewer_bits_agree_with_onnxruntime_and_lose_more() -> None:
    model = merged("repvgg")
    feeds = {"images": images(model)}
    wanted = in_interpreter(model.graph, feeds)["outputs"]
    noise = []
    for bits in (8, 6, 4):
        q = quantized(model, _coarse(bits, bits))
        found = in_interpreter(q.graph, feeds)["outputs"]
        other = in_onnxruntime(q.graph, feeds)["outputs"]
        assert np.mean(np.abs(found - other) <= 1e-5 * np.ptp(wanted)) >= 0.99
        noise.append(float(np.sqrt(np.mean((found - wanted) ** 2))))
    assert 0 < 3 * noise[0] < noise[1] < noise[2] / 2


def test_one_scale_for_the_weights_of_a_layer() -> None:
    model = merged("tiny_detector")
    q = quantized(model, _coarse(per_tensor=True))
    onnx.checker.check_model(ir.to_proto(q.graph), full_check=True)
    for name, codes, scale in weights_of(q.graph):
        assert scale.shape == ()
        stored = model.graph.graph.initializers[name].const_value
        assert stored is not None
        assert scale == np.float32(np.abs(stored.numpy()).max() / 127)
        assert np.abs(codes.astype(int)).max() == 127


def test_the_range_of_the_weights_can_be_chosen() -> None:
    model = merged("tiny_detector")
    placement = place(model, _coarse(weight_bits=4))
    ranges = dict.fromkeys(placement.groups, Range(-1.0, 1.0))
    errors = []
    for choose in WEIGHT_RANGES.values():
        total = 0.0
        for name, codes, scale in weights_of(quantize(model, placement, ranges, choose).graph):
            stored = model.graph.graph.initializers[name].const_value
            assert stored is not None
            wide = scale.reshape(scale.shape + (1,) * (codes.ndim - scale.ndim))
            total += float(np.square(codes * wide - stored.numpy()).sum())
        errors.append(total)
    assert list(WEIGHT_RANGES) == ["minmax", "mse"]
    assert errors[1] < 0.95 * errors[0]
