"""Backbones: an image in, features of falling resolution out."""

from collections.abc import Callable, Mapping

import onnx_ir as ir

from detq.errors import UnsupportedBlockError
from detq.torch_file.module import Module
from detq.torch_layers.writer import Writer

Features = tuple[ir.Value, ...]
BackboneBuilder = Callable[[Writer, Module, ir.Value], Features]


def write_backbone(write: Writer, m: Module, image: ir.Value) -> Features:
    """Features for the neck, finest first.

    Raises:
        UnsupportedBlockError: there is no builder for its class.
    """
    found = BACKBONES.get(m.name)
    if found is None:
        raise UnsupportedBlockError(f"there is no builder for {m.kind}", where=m.path)
    with write.to.scope(m.key):
        return found(write, m, image)


def er_backbone(write: Writer, m: Module, x: ir.Value) -> Features:
    """``stem``, then ``ERBlock_2`` and on; ``fuse_P2`` also gives the finest features."""
    x = _staged(write, m.child("stem"), x)
    # The switch came with 0.3; None means no.
    finest = m.attributes.get("fuse_P2") is not None and m.flag("fuse_P2")
    features = []
    for name, block in m.children.items():
        if name.startswith("ERBlock_"):
            x = _er_block(write, block, x)
            features.append(x)
    return tuple(features if finest else features[1:])


def lite_backbone(write: Writer, m: Module, x: ir.Value) -> Features:
    """``conv_0`` and four blocks; the first is too fine for the neck."""
    x = _staged(write, m.child("conv_0"), x)
    features = []
    for number in (1, 2, 3, 4):
        x = _staged(write, m.child(f"lite_effiblock_{number}"), x)
        features.append(x)
    return tuple(features[1:])


def _er_block(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    """A stride of 2, repeats, and in the last one the pyramid pooling, a stage of its own."""
    with write.to.scope(m.key):
        for number, layer in m.children.items():
            with write.to.stage(layer.path if number == "2" else m.path):
                x = write.apply(layer, x)
    return x


def _staged(write: Writer, m: Module, x: ir.Value) -> ir.Value:
    with write.to.stage(m.path):
        return write.apply(m, x)


BACKBONES: Mapping[str, BackboneBuilder] = {
    "EfficientRep": er_backbone,
    "EfficientRep6": er_backbone,
    "CSPBepBackbone": er_backbone,
    "CSPBepBackbone_P6": er_backbone,
    "Lite_EffiBackbone": lite_backbone,
}
