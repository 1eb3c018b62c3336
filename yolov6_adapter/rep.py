"""Reparameterizable blocks, branches apart."""

import onnx_ir as ir

from detq.graph.build import channels
from detq.torch_file.module import Module
from detq.torch_layers.writer import Writer


def rep_vgg(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``relu(dense(x) + 1x1(x) + identity BN(x))``, or the one convolution it was merged to."""
    return write.chain(m, _sum_or_merged(write, m, x, "rbr_identity"), "se", "nonlinearity")


def qa_rep_vgg(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``relu(BN(dense(x) + 1x1(x) + x))``; the BN stays when the branches are merged."""
    return write.chain(m, _sum_or_merged(write, m, x, "rbr_identity"), "bn", "se", "nonlinearity")


def qa_rep_vgg_2(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``relu(BN(dense(x) + 1x1(x) + x + average(x)))``."""
    total = _sum_or_merged(write, m, x, "rbr_identity", "rbr_avg")
    return write.chain(m, total, "bn", "se", "nonlinearity")


def real_vgg(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``relu(BN(conv(x)))``, the target of RepOpt."""
    return write.chain(m, x, "conv", "bn", "se", "relu")


def linear_add(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``relu(BN(s3 * conv(x) + s1 * 1x1(x) + s0 * x))``, the search block of RepOpt."""
    total = write.add(
        m, write.chain(m, x, "conv", "scale_conv"), write.chain(m, x, "conv_1x1", "scale_1x1")
    )
    if "scale_identity" in m.children:
        total = write.add(m, total, write.apply(m.child("scale_identity"), x))
    return write.chain(m, total, "bn", "se", "relu")


def scale_layer(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """One factor per channel."""
    weight, bias = m.array("weight", 1), m.optional_array("bias", 1)
    if {len(weight), *([] if bias is None else [len(bias)])} != {channels(x)}:
        raise m.damaged(f"{len(weight)} channels on {channels(x)} inputs")
    scale = write.to.constant(f"{m.key}.weight", weight.reshape(1, -1, 1, 1))
    x = write.to.elementwise("Mul", x, scale, name=m.key)
    if bias is None:
        return x
    shift = write.to.constant(f"{m.key}.bias", bias.reshape(1, -1, 1, 1))
    return write.to.elementwise("Add", x, shift, name=f"{m.key}.shift")


def rep_block(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """``conv1``, then the repeats in ``block``."""
    x = write.apply(m.child("conv1"), x)
    return write.apply(m.child("block"), x) if m.has("block") else x


def _sum_or_merged(write: Writer, m: Module, x: ir.Value, *optional: str) -> ir.Value:
    if "rbr_reparam" in m.children:
        return write.apply(m.child("rbr_reparam"), x)
    branches = ["rbr_dense", "rbr_1x1", *(name for name in optional if m.has(name))]
    total, *rest = (write.apply(m.child(name), x) for name in branches)
    for branch in rest:
        total = write.add(m, total, branch)
    return total
