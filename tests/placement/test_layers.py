from dataclasses import replace

import onnx_ir as ir
import pytest

from detq.placement.layers import RULES, decide_layers, float_narrow
from detq.plan import Layer
from detq.target import PLAIN, Target
from detq_deploy.targets import TENSORRT
from tests.block_writer import Writer
from tests.steps import merged
from tests.zoo import network

CORES = replace(PLAIN, name="gpu", tensor_cores=True)


def layers(graph: ir.Graph, target: Target = PLAIN, **patterns: str) -> dict[str, Layer]:
    return {layer.node: layer for layer in decide_layers(graph, patterns, target)}


def test_every_rule_has_its_own_name() -> None:
    assert len({rule.__name__ for rule in RULES}) == len(RULES) == 7


def test_the_recipe_comes_first() -> None:
    found = layers(merged("repvgg").graph.graph, **{"*": "asked for"})
    assert {layer.reason for layer in found.values()} == {"recipe: asked for"}


def test_the_layer_that_reads_the_images() -> None:
    graph = merged("repvgg").graph.graph
    found = layers(graph, replace(PLAIN, name="t", first_layer=False))
    assert found["stem.conv"].reason == "t: it reads the images, 3 channels gain nothing"
    assert found["block.conv"].int8
    assert layers(graph)["stem.conv"].int8


def test_transposed_convolutions_where_there_is_no_kernel() -> None:
    graph = merged("tiny_detector").graph.graph
    changed = {
        name
        for name, layer in layers(graph, TENSORRT["trt8.4"]).items()
        if layer.reason == "trt8.4: no INT8 kernel for transposed convolutions"
    }
    transposed = {str(node.name) for node in graph if node.op_type == "ConvTranspose"}
    assert changed == transposed and transposed
    assert all(layers(graph)[name].int8 for name in transposed)
    assert all(layers(graph)[name].axis is None for name in transposed)


@pytest.mark.parametrize(
    ("made", "read", "groups", "kernel", "gains"),
    [
        (16, 16, 1, 3, True),
        (32, 8, 1, 3, True),
        (8, 32, 1, 1, True),
        (12, 20, 1, 3, False),  # neither is whole
        (20, 12, 1, 3, False),
        (8, 8, 1, 3, False),  # whole, and both narrow
        (24, 24, 24, 3, True),  # depthwise
        (24, 24, 24, 1, False),
        (12, 12, 12, 3, False),
    ],
)
def test_too_few_channels(made: int, read: int, groups: int, kernel: int, gains: bool) -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        x = w.plain_conv(x, read, 3, name="before")
        x = w.plain_conv(x, made, kernel, groups=groups, name="asked")
        return w.plain_conv(x, 16, 3, name="after")

    graph = network(body, width=16).graph.graph
    found = layers(graph, CORES)["asked"]
    assert found.int8 is gains
    if not gains:
        text = f"gpu: {made} x {read // groups} channels are too few for tensor cores"
        assert found.reason == text
    assert layers(graph)["asked"].int8


def test_the_first_layer_may_be_narrow() -> None:
    graph = network(lambda w, x: w.plain_conv(x, 16, 3, name="after"), width=8).graph.graph
    assert layers(graph, CORES)["stem.conv"].int8


def test_what_another_target_leaves_float_is_asked_of_that_one_alone() -> None:
    assert float_narrow in RULES
    graph = merged("lite").graph.graph
    assert all(layer.int8 or "gpu" not in layer.reason for layer in layers(graph).values())
    assert any("gpu" in layer.reason for layer in layers(graph, CORES).values())
