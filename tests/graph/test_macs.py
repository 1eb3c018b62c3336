import onnx_ir as ir

from detq.graph.macs import macs_of
from tests.block_writer import Writer


def layers(size: tuple[int, int]) -> dict[str, ir.Node]:
    w = Writer("net", 0)
    x = w.input("images", ["batch", 3, *size])
    x = w.plain_conv(x, 8, 3, stride=2, bias=True, name="conv")
    x = w.plain_conv(x, 8, 3, groups=8, bias=True, name="depthwise")
    return {str(node.name): node for node in w.finish({"outputs": x}).graph}


def test_every_output_takes_all_taps() -> None:
    found = layers((16, 32))
    assert macs_of(found["conv"]) == 8 * 8 * 16 * 3 * 9
    assert macs_of(found["depthwise"]) == 8 * 8 * 16 * 9


def test_nothing_is_told_without_shapes() -> None:
    node = layers((16, 32))["conv"]
    node.outputs[0].shape = None
    assert macs_of(node) is None


def test_nothing_is_told_of_a_node_without_weights() -> None:
    x = ir.Value(name="x", shape=ir.Shape([1, 2]))
    assert macs_of(ir.Node("", "Conv", [x])) is None
