from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from detq.graph.build import BLOCK, KIND, STAGE, Builder, channels, size_of


def normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def run(model: ir.Model, x: NDArray[np.float32]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (result,) = session.run(None, {"images": x})
    return result


Layer = Callable[[Builder, ir.Value], ir.Value]

LAYERS: dict[str, Layer] = {
    "conv": lambda b, x: b.conv(x, normal(8, 6, 3, 3), stride=(2, 1), padding=(1, 0)),
    "dilated": lambda b, x: b.conv(x, normal(8, 6, 3, 3), dilation=(2, 1), padding=(2, 1)),
    "grouped": lambda b, x: b.conv(x, normal(12, 2, 1, 3), normal(12), groups=3),
    "conv_transpose": lambda b, x: b.conv_transpose(
        x, normal(6, 5, 3, 2), normal(5), stride=(2, 2), padding=(1, 0)
    ),
    "batch_norm": lambda b, x: b.batch_norm(
        x, normal(6), normal(6), normal(6), normal(6) ** 2 + 1, eps=1e-3
    ),
    "max_pool": lambda b, x: b.pool("MaxPool", x, (5, 5), stride=(1, 1), padding=(2, 2)),
    "average_pool": lambda b, x: b.pool("AveragePool", x, (3, 3), stride=(2, 2), padding=(1, 1)),
    "global_average_pool": lambda b, x: b.global_average_pool(x),
    "relu": lambda b, x: b.elementwise("Relu", x),
    "concat": lambda b, x: b.concat([x, b.elementwise("Relu", x)]),
    "split": lambda b, x: b.concat(b.split_channels(x, (1, 2, 3))[::-1]),
    "resize": lambda b, x: b.resize_nearest(x, 2),
    "reshape": lambda b, x: b.reshape(x, (3, 2, -1)),
    "transpose": lambda b, x: b.transpose(x, (0, 2, 3, 1)),
}


def built(layer: Layer, batch: int | str = "B") -> tuple[ir.Model, ir.Value]:
    builder = Builder("net")
    y = layer(builder, builder.input("images", (batch, 6, 11, 8)))
    return builder.finish({"outputs": y}), y


@pytest.mark.parametrize("name", LAYERS)
def test_the_followed_shape_is_the_real_one(name: str) -> None:
    model, y = built(LAYERS[name])
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert y.shape is not None
    followed = [2 if isinstance(n, ir.SymbolicDim) else int(n) for n in y.shape]
    assert list(run(model, normal(2, 6, 11, 8)).shape) == followed
    assert str(y.shape[0]) == "B"


@pytest.mark.parametrize("name", LAYERS)
def test_one_network_gives_one_file(name: str) -> None:
    first, second = (ir.to_proto(built(LAYERS[name])[0]) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )


def test_padding_counts_in_an_average() -> None:
    model, _ = built(LAYERS["average_pool"])
    corner = run(model, np.ones((1, 6, 11, 8), np.float32))[0, 0, 0, 0]
    assert corner == pytest.approx(4 / 9, abs=1e-6)


def test_resize_repeats_pixels() -> None:
    x = normal(1, 6, 11, 8)
    model, _ = built(LAYERS["resize"])
    assert np.array_equal(run(model, x), x.repeat(2, axis=2).repeat(2, axis=3))


def test_split_takes_consecutive_channels() -> None:
    x = normal(1, 6, 11, 8)
    model, _ = built(LAYERS["split"])
    assert np.array_equal(run(model, x), x[:, [3, 4, 5, 1, 2, 0]])


def test_names_come_from_the_place() -> None:
    builder = Builder("net")
    x = builder.input("images", (1, 3, 8, 8))
    with builder.scope("backbone.stem"), builder.scope("rbr_dense"):
        assert builder.path == "backbone.stem.rbr_dense"
        y = builder.conv(x, normal(4, 3, 1, 1), normal(4))
        again = builder.conv(y, normal(4, 4, 1, 1))
    assert builder.path == ""
    assert y.name == "backbone.stem.rbr_dense.conv"
    assert again.name == "backbone.stem.rbr_dense.conv_1"
    assert (channels(y), size_of(y)) == (4, (8, 8))
    graph = builder.finish({"outputs": again}).graph
    assert list(graph.initializers) == [
        "backbone.stem.rbr_dense.conv.weight",
        "backbone.stem.rbr_dense.conv.bias",
        "backbone.stem.rbr_dense.conv.weight_1",
    ]
    assert [value.name for value in graph.outputs] == ["outputs"]


def test_the_outermost_block_and_stage_win() -> None:
    builder = Builder("net")
    x = builder.input("images", (1, 3, 8, 8))
    with (
        builder.stage("backbone"),
        builder.scope("stem"),
        builder.block("RepVGGBlock"),
        builder.stage("inner"),
        builder.scope("bn"),
        builder.block("ConvBN"),
    ):
        x = builder.elementwise("Relu", x)
    x = builder.elementwise("Sigmoid", x)
    inside, outside = builder.finish({"outputs": x}).graph
    assert inside.metadata_props == {BLOCK: "stem", KIND: "RepVGGBlock", STAGE: "backbone"}
    assert outside.metadata_props == {}


def test_a_place_is_left_when_something_is_raised() -> None:
    builder = Builder("net")
    with pytest.raises(KeyError), builder.scope("a"), builder.block("B"), builder.stage("s"):
        raise KeyError
    y = builder.elementwise("Relu", builder.input("images", (1, 3, 8, 8)))
    (node,) = builder.finish({"outputs": y}).graph
    assert (node.name, node.metadata_props) == ("relu", {})


def test_a_shape_that_was_lost_is_our_fault() -> None:
    builder = Builder("net")
    x = builder.op("Exp", builder.input("images", (1, 3, 8, 8)))
    with pytest.raises(AssertionError, match="shape of exp was not followed"):
        builder.elementwise("Relu", x)
