"""Necks: features of the backbone in, one feature map per level of the head out."""

from collections.abc import Callable, Mapping

import onnx_ir as ir

from detq.errors import UnsupportedBlockError
from detq.torch_file.module import Module
from detq.torch_layers.writer import Writer
from yolov6_adapter.backbone import Features

NeckBuilder = Callable[[Writer, Module, Features], Features]
Fusion = Callable[[Writer, Module, int, ir.Value, Features], ir.Value]


def write_neck(write: Writer, m: Module, features: Features) -> Features:
    """Features for the head, finest first.

    Raises:
        UnsupportedBlockError: there is no builder for its class.
    """
    found = NECKS.get(m.name)
    if found is None:
        raise UnsupportedBlockError(f"there is no builder for {m.kind}", where=m.path)
    with write.to.scope(m.key):
        return found(write, m, features)


def bi_fpan(write: Writer, m: Module, features: Features) -> Features:
    """Down and up again, three resolutions fused at each step down."""
    return _down_and_up(write, m, features, _bi_fusion)


def pan(write: Writer, m: Module, features: Features) -> Features:
    """Down and up again, two resolutions joined at each step down."""
    return _down_and_up(write, m, features, _up_and_join)


def lite_neck(write: Writer, m: Module, features: Features) -> Features:
    """PAN with equal channels everywhere and a fourth level made from the coarsest."""
    _expect(m, features, 3)
    fine, middle, coarse = (
        write.apply(m.child(f"reduce_layer{2 - i}"), feature) for i, feature in enumerate(features)
    )
    p4 = _joined(write, m, "Csp_p4", write.apply(m.child("upsample0"), coarse), middle)
    p3 = _joined(write, m, "Csp_p3", write.apply(m.child("upsample1"), p4), fine)
    n3 = _joined(write, m, "Csp_n3", write.apply(m.child("downsample2"), p3), p4)
    n4 = _joined(write, m, "Csp_n4", write.apply(m.child("downsample1"), n3), coarse)
    top = write.apply(m.child("p6_conv_1"), coarse)
    return p3, n3, n4, write.add(m, top, write.apply(m.child("p6_conv_2"), n4))


def _down_and_up(write: Writer, m: Module, features: Features, fuse: Fusion) -> Features:
    steps = sum(name.startswith("reduce_layer") for name in m.children)
    _expect(m, features, steps + (2 if fuse is _bi_fusion else 1))
    x, reduced = features[-1], []
    for i in range(steps):
        reduced.append(write.apply(m.child(f"reduce_layer{i}"), x))
        x = _staged(write, m, f"Rep_p{steps + 2 - i}", fuse(write, m, i, reduced[-1], features))
    outputs = [x]
    for i in range(steps):
        smaller = write.apply(m.child(f"downsample{2 - i}"), outputs[-1])
        name = f"Rep_n{steps + 1 + i}"
        outputs.append(_joined(write, m, name, smaller, reduced[-1 - i]))
    return tuple(outputs)


def _bi_fusion(write: Writer, m: Module, i: int, x: ir.Value, features: Features) -> ir.Value:
    """``cv3(concat(upsample(x), cv1(same size), downsample(cv2(twice the size))))``."""
    fusion = m.child(f"Bifusion{i}")
    with write.to.stage(fusion.path), write.to.scope(fusion.key):
        up = write.apply(fusion.child("upsample"), x)
        same = write.apply(fusion.child("cv1"), features[-2 - i])
        finer = write.chain(fusion, features[-3 - i], "cv2", "downsample")
        return write.apply(fusion.child("cv3"), write.concat(fusion, up, same, finer))


def _up_and_join(write: Writer, m: Module, i: int, x: ir.Value, features: Features) -> ir.Value:
    return write.concat(m, write.apply(m.child(f"upsample{i}"), x), features[-2 - i])


def _joined(write: Writer, m: Module, name: str, *inputs: ir.Value) -> ir.Value:
    return _staged(write, m, name, write.concat(m, *inputs))


def _staged(write: Writer, m: Module, name: str, x: ir.Value) -> ir.Value:
    with write.to.stage(m.child(name).path):
        return write.apply(m.child(name), x)


def _expect(m: Module, features: Features, count: int) -> None:
    if len(features) != count:
        raise m.unsupported(f"{len(features)} features of the backbone where it takes {count}")


NECKS: Mapping[str, NeckBuilder] = {
    "RepPANNeck": pan,
    "CSPRepPANNeck": pan,
    "RepBiFPANNeck": bi_fpan,
    "RepBiFPANNeck6": bi_fpan,
    "CSPRepBiFPANNeck": bi_fpan,
    "CSPRepBiFPANNeck_P6": bi_fpan,
    "Lite_EffiNeck": lite_neck,
}
