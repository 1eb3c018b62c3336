"""Dominators, decoding, units and stages of small graphs drawn by hand."""

from collections.abc import Callable

import onnx_ir as ir

from onnx_adapter.blocks import find_blocks
from onnx_adapter.decode import find_decode
from onnx_adapter.flow import START, Flow, flow_of
from onnx_adapter.fold import fold
from onnx_adapter.stages import find_stages, stage_name
from tests.onnx_adapter.graphs import Net

Names = Callable[[int], str]


def flow(net: Net, *outputs: str) -> Flow:
    model = ir.from_proto(net.finish([1, 3, 32, 32], *outputs))
    fold(model, model.graph.inputs[0])
    ir.passes.common.IdentityEliminationPass()(model)
    return flow_of(model.graph)


def kinds(found: Flow, numbers: object) -> list[str]:
    return [found.nodes[n].op_type for n in sorted(numbers)]  # type: ignore[call-overload]


def diamond() -> Flow:
    """``0 -> (1 -> 2, 3) -> 4``."""
    net = Net()
    x = net.op("Relu", "images")
    left = net.op("Tanh", net.op("Exp", x))
    return flow(net, net.op("Add", left, net.op("Neg", x)))


def test_a_node_is_dominated_by_what_all_ways_share() -> None:
    found = diamond()
    assert kinds(found, range(5)) == ["Relu", "Exp", "Tanh", "Neg", "Add"]
    assert list(found.dominators) == [START, 0, 1, 0, 0]
    assert found.common_dominator([2, 3]) == 0
    assert found.common_dominator([1, 2]) == 1
    assert found.common_dominator([4]) == 4


def test_what_leads_to_and_what_is_reached() -> None:
    found = diamond()
    assert found.leading_to([2]) == {0, 1, 2}
    assert found.reached_from([1]) == {1, 2, 4}
    assert found.ends == [4]


def test_two_ways_from_the_image_share_only_the_start() -> None:
    net = Net()
    found = flow(net, net.op("Add", net.op("Relu", "images"), net.op("Neg", "images")))
    assert list(found.dominators) == [START, START, START]
    assert found.common_dominator([0, 1]) == START


def test_shapes_do_not_flow() -> None:
    net = Net()
    x = net.op("Relu", "images")
    index = net.op("Cast", net.op("ReduceSum", x, keepdims=0), to=7)
    found = flow(net, net.op("Gather", net.op("Neg", x), index, axis=1))
    gather = next(i for i, node in enumerate(found.nodes) if node.op_type == "Gather")
    assert kinds(found, found.before[gather]) == ["Neg"]


def test_decoding_lies_behind_the_last_convolutions() -> None:
    net = Net()
    x = net.op("Relu", net.conv("images", 3, 8))
    boxes, scores = net.conv(x, 8, 4, 1), net.conv(x, 8, 2, 1)
    found = flow(net, net.op("Concat", net.op("Exp", boxes), net.op("Sigmoid", scores), axis=1))
    decode = find_decode(found)
    assert kinds(found, decode.predictions) == ["Conv", "Conv"]
    assert kinds(found, decode.nodes) == ["Exp", "Sigmoid", "Concat"]


def dfl(net: Net, x: str) -> str:
    bins = net.op("Reshape", x, net.ints(1, 4, 4, 1024))
    share = net.op("Softmax", net.op("Transpose", bins, perm=[0, 2, 1, 3]), axis=1)
    return str(net.op("Conv", share, net.weight(1, 4, 1, 1)))


def test_the_mean_of_a_distribution_is_no_prediction() -> None:
    net = Net()
    boxes = net.conv("images", 3, 16, 1)
    found = flow(net, dfl(net, boxes))
    decode = find_decode(found)
    assert decode.predictions == [0]
    assert kinds(found, decode.nodes) == ["Reshape", "Transpose", "Softmax", "Conv"]


def test_a_convolution_behind_attention_is_a_prediction() -> None:
    net = Net()
    x = net.conv("images", 3, 8, 1)
    found = flow(net, net.conv(net.op("Softmax", x, axis=1), 8, 8, 1))  # eight channels, no mean
    assert find_decode(found).predictions == [2]


def test_a_feature_that_is_an_output_too_is_no_decoding() -> None:
    net = Net()
    feature = net.op("Relu", net.conv("images", 3, 8))
    found = flow(net, net.op("Sigmoid", net.conv(feature, 8, 4, 1)), feature)
    decode = find_decode(found)
    assert decode.predictions == [2]
    assert kinds(found, decode.nodes) == ["Sigmoid"]


def units(net: Net, output: str) -> list[tuple[str, list[str]]]:
    found = flow(net, output)
    return [(unit.kind, kinds(found, unit.nodes)) for unit in find_blocks(found, frozenset())]


def test_a_convolution_goes_with_its_activation() -> None:
    net = Net()
    x = net.silu(net.norm(net.conv("images", 3, 8), 8))
    x = net.op("Relu", net.conv(x, 8, 8))
    assert units(net, x) == [
        ("convolution", ["Conv", "BatchNormalization", "Sigmoid", "Mul"]),
        ("convolution", ["Conv", "Relu"]),
    ]


def test_branches_that_meet_in_a_sum_are_one_unit() -> None:
    net = Net()
    x = net.repvgg("images", 3, 3, at="stem")
    ((kind, members),) = units(net, x)
    assert kind == "branches"
    assert members.count("Conv") == 2
    assert members.count("BatchNormalization") == 3
    assert members[-1] == "Relu"


def test_the_outermost_residual_wins() -> None:
    net = Net()
    inner = net.conv("images", 3, 3)
    inner = net.op("Add", inner, net.conv(net.op("Relu", inner), 3, 3))
    x = net.op("Add", "images", net.conv(net.op("Relu", inner), 3, 3))
    ((kind, members),) = units(net, x)
    assert (kind, members.count("Conv")) == ("residual", 3)


def test_ways_that_meet_in_a_concat_are_no_unit() -> None:
    net = Net()
    a, b = net.conv("images", 3, 4), net.conv("images", 3, 4, 1)
    total = net.conv(net.op("Concat", a, b, axis=1), 8, 3)
    x = net.op("Add", "images", total)
    assert [kind for kind, _ in units(net, x)] == ["convolution"] * 3


def test_a_unit_that_is_read_inside_is_none() -> None:
    net = Net()
    inner = net.conv("images", 3, 3)
    x = net.op("Add", "images", net.conv(inner, 3, 3))
    x = net.op("Concat", x, inner, axis=1)
    assert [kind for kind, _ in units(net, x)] == ["convolution", "convolution"]


def stages(net: Net, *outputs: str) -> dict[str, list[str]]:
    found = flow(net, *outputs)
    decode = find_decode(found)
    blocks = find_blocks(found, decode.nodes)
    strides = {}
    for node in decode.predictions:
        shape = found.nodes[node].outputs[0].shape
        assert shape is not None
        strides[node] = 32 // int(str(shape[2]))
    places = find_stages(found, decode, blocks, strides)
    named: dict[str, list[str]] = {}
    for step, place in zip(found.nodes, places, strict=True):
        named.setdefault(stage_name(place), []).append(step.op_type)
    return named


def test_a_stage_ends_where_the_resolution_changes() -> None:
    net = Net()
    x = net.conv(net.conv(net.conv("images", 3, 4), 4, 4, 3, 2), 4, 4)
    x = net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.op("Sigmoid", net.conv(net.conv(x, 4, 4), 4, 6, 1))
    assert stages(net, x) == {
        "stage_0": ["Conv"],
        "stage_1": ["Conv", "Conv"],
        "stage_2": ["MaxPool", "Conv"],
        "head.level_0": ["Conv"],
        "decode": ["Sigmoid"],
    }


def test_a_lateral_convolution_goes_to_the_stage_that_reads_it() -> None:
    net = Net()
    fine = net.conv("images", 3, 4, 3, 2)
    coarse = net.conv(fine, 4, 4, 3, 2)
    lateral = net.op("Relu", net.conv(fine, 4, 4, 1))
    joined = net.op("Concat", net.upsample(coarse), lateral, axis=1)
    found = stages(net, net.conv(net.op("Relu", net.conv(joined, 8, 8)), 8, 6, 1))
    assert found == {
        "stage_1": ["Conv"],
        "stage_2": ["Conv"],
        "stage_3": ["Conv", "Relu", "Resize", "Concat", "Conv", "Relu"],
        "head.level_0": ["Conv"],
    }


def test_a_unit_is_not_divided() -> None:
    net = Net()
    x = net.conv("images", 3, 4)
    inside = net.conv(net.conv(x, 4, 4), 4, 4, 3, 2)  # the first could be of stage 0
    short = net.conv(x, 4, 4, 1, 2)
    found = stages(net, net.conv(net.op("Add", inside, short), 4, 6, 1))
    assert found["stage_0"] == ["Conv"]
    assert found["stage_1"] == ["Conv", "Conv", "Conv", "Add"]


def test_levels_of_the_head_begin_behind_what_they_share() -> None:
    net = Net()
    fine = net.conv("images", 3, 4, 3, 2)
    coarse = net.conv(fine, 4, 4, 3, 2)
    ends = []
    for x in (fine, coarse):
        stem = net.conv(x, 4, 4, 1)
        ends += [net.conv(net.conv(stem, 4, 4), 4, n, 1) for n in (4, 2)]
    assert stages(net, *ends) == {
        "stage_1": ["Conv", "Conv"],  # with the stem of the fine level
        "stage_2": ["Conv", "Conv"],
        "head.level_0": ["Conv"] * 4,
        "head.level_1": ["Conv"] * 4,
    }
