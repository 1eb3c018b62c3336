"""Bottlenecks, the blocks that split channels and join them, and pyramid pooling."""

import onnx_ir as ir

from detq.graph.build import channels
from detq.torch_file.module import Module
from detq.torch_layers.writer import Writer

MOST_POOLINGS = 16  # a small file must not become a large graph


def bottleneck(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``cv2(cv1(x))``, plus ``x`` if it has a shortcut."""
    y = write.chain(m, x, "cv1", "cv2")
    return write.add(m, x, y) if m.flag("add") else y


def c2f(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Both halves of ``cv1`` and every step from the second on, joined in ``cv2``."""
    x = write.apply(m.child("cv1"), x)
    if channels(x) % 2:
        raise m.damaged(f"halves {channels(x)} channels")
    joined = list(write.to.split_channels(x, [channels(x) // 2] * 2))
    with write.to.scope("m"):
        for step in m.child("m").children.values():
            joined.append(write.apply(step, joined[-1]))
    return write.apply(m.child("cv2"), write.concat(m, *joined))


def c3(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``cv3(concat(m(cv1(x)), cv2(x)))``."""
    long = write.chain(m, x, "cv1", "m")
    return write.apply(m.child("cv3"), write.concat(m, long, write.apply(m.child("cv2"), x)))


def sppf(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``cv2`` over ``cv1`` and its poolings, three unless it says otherwise, plus a shortcut."""
    steps = [write.apply(m.child("cv1"), x)]
    count = m.integer("n", 1) if "n" in m.attributes else 3
    if count > MOST_POOLINGS:
        raise m.unsupported(f"{count} poolings")
    for _ in range(count):
        steps.append(write.apply(m.child("m"), steps[-1]))
    y = write.apply(m.child("cv2"), write.concat(m, *steps))
    return write.add(m, y, x) if "add" in m.attributes and m.flag("add") else y
