"""Bottlenecks and the blocks that split channels, run some, and join them."""

import numpy as np
import onnx_ir as ir

from detq.graph.build import channels
from detq.torch_file.module import Module
from detq.torch_layers.writer import Writer


def bottle_rep(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Its convolutions in turn, plus ``alpha * x`` if it has a shortcut."""
    y = write.chain(m, x, *(name for name in ("conv1", "conv2", "conv3") if name in m.children))
    if not m.flag("shortcut"):
        return y
    alpha = m.arrays["alpha"] if "alpha" in m.arrays else np.array(m.number("alpha"))
    if alpha.size != 1:
        raise m.damaged("alpha is not one number")
    scale = write.to.constant("alpha", alpha.astype(np.float32).reshape(()))
    return write.add(m, y, write.to.elementwise("Mul", x, scale, name="shortcut"))


def bep_c3(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``cv3(concat(m(cv1(x)), cv2(x)))``."""
    if m.attributes.get("concat", True) is not True:
        raise m.unsupported("only the form that joins both paths is known")
    long = write.chain(m, x, "cv1", "m")
    return write.apply(m.child("cv3"), write.concat(m, long, write.apply(m.child("cv2"), x)))


def mbla(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """Chunks of ``cv1``: the first is kept, the others run through chains; all steps are joined."""
    x = write.apply(m.child("cv1"), x)
    chains = list(m.child("m").children.values())
    if channels(x) % (len(chains) + 1):
        raise m.damaged(f"{channels(x)} channels for {len(chains)} chains")
    each = channels(x) // (len(chains) + 1)
    kept, *parts = write.to.split_channels(x, [each] * (len(chains) + 1))
    joined = [kept]
    for chain, part in zip(chains, parts, strict=True):
        joined.append(part)
        with write.to.scope(f"m.{chain.key}"):
            for step in chain.children.values():
                joined.append(write.apply(step, joined[-1]))
    return write.apply(m.child("cv2"), write.concat(m, *joined))


def csp_block(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``conv_3(concat(blocks(conv_1(x)), conv_2(x)))`` of the Lite neck."""
    long = write.chain(m, x, "conv_1", "blocks")
    return write.apply(m.child("conv_3"), write.concat(m, long, write.apply(m.child("conv_2"), x)))


def darknet_block(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``conv_2(conv_1(x))``."""
    return write.chain(m, x, "conv_1", "conv_2")
