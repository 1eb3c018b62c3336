"""Blocks of the Lite backbone."""

import onnx_ir as ir

from detq.graph.build import channels, size_of
from detq.torch_file.module import Module
from detq.torch_layers.writer import Writer


def lite_s1(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Half of the channels is worked on, then both halves are interleaved."""
    if channels(x) % 2:
        raise m.damaged(f"halves {channels(x)} channels")
    kept, worked = write.to.split_channels(x, [channels(x) // 2] * 2)
    worked = write.chain(m, worked, "conv_pw_1", "conv_dw_1", "se", "conv_1")
    return _shuffle(write, m, write.concat(m, kept, worked))


def lite_s2(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Two strided paths, joined and mixed by a depthwise and a pointwise convolution."""
    short = write.chain(m, x, "conv_dw_1", "conv_1")
    long = write.chain(m, x, "conv_pw_2", "conv_dw_2", "se", "conv_2")
    return write.chain(m, write.concat(m, short, long), "conv_dw_3", "conv_pw_3")


def _shuffle(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Channel ``i`` of both halves side by side."""
    count, (height, width) = channels(x), size_of(x)
    if count % 2:
        raise m.damaged(f"shuffles {count} channels")
    pairs = write.to.reshape(x, [2, count // 2, height, width], name="shuffle.split")
    swapped = write.to.transpose(pairs, [0, 2, 1, 3, 4], name="shuffle.swap")
    return write.to.reshape(swapped, [count, height, width], name="shuffle")
