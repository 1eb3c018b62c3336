import numpy as np
import pytest

from detq.torch_file.module import Module
from yolov6_adapter.family import family_of, variant_of


def node(kind: str, **children: Module) -> Module:
    return Module(kind, "", {}, {}, children)


def conv(channels: int) -> Module:
    weight = np.zeros((channels, 1, 1, 1), np.float32)
    return Module("torch.nn.modules.conv.Conv2d", "", {}, {"weight": weight}, {})


def repeated(kind: str, count: int) -> Module:
    return node(kind, **{str(i): conv(8) for i in range(count)})


def network(
    stem: str,
    channels: int,
    *,
    reduce: str = "ConvBNReLU",
    levels: tuple[str, ...] = ("ERBlock_3",),
    chain: int = 0,
    rest: int = 0,
    neck: tuple[str, ...] = ("Bifusion0",),
    head: tuple[str, ...] = ("reg_preds",),
    boxes: int = 4,
) -> Module:
    mbla = node("a.MBLABlock", m=node("a.ModuleList", x=repeated("a.Sequential", chain)))
    plain = node("a.RepBlock", conv1=conv(8), block=repeated("a.Sequential", rest))
    layer = mbla if chain else plain
    parts = {name: conv(8) for name in neck} | ({"Rep_p4": mbla} if chain else {})
    return node(
        "yolov6.models.yolo.Model",
        backbone=node(
            "a.EfficientRep",
            stem=node(f"a.{stem}", conv=conv(channels)),
            **{name: node("a.Sequential", **{"1": layer}) for name in levels},
        ),
        neck=node("a.Neck", reduce_layer0=node(f"a.{reduce}", conv=conv(8)), **parts),
        detect=node("a.Detect", **{name: conv(boxes) for name in head}),
    )


P6 = ("ERBlock_3", "ERBlock_6")


def first_generation(rest: int) -> Module:
    head = ("reg_preds", "obj_preds")
    return network("RepVGGBlock", 32, reduce="SimConv", neck=(), head=head, rest=rest)


@pytest.mark.parametrize(
    ("root", "variant"),
    [
        (network("RepVGGBlock", 16), "N"),
        (network("RepVGGBlock", 48), "M"),
        (network("ConvBNSiLU", 64), "L"),
        (network("RepVGGBlock", 32, levels=P6), "S6"),
        (network("RepVGGBlock", 8), "8-channel"),
        (network("RepVGGBlock", 8, levels=P6), "8-channel P6"),
        (network("ConvBNReLU", 32), "S base"),
        (network("ConvBNSiLU", 64, chain=2), "L MBLA"),
        (network("ConvBNSiLU", 64, chain=4), "X MBLA"),
        (network("QARepVGGBlockV2", 16), "N QARepVGG"),
        (network("RealVGGBlock", 24, neck=()), "T RepOpt"),
        (network("RepVGGBlock", 16, head=("reg_preds", "seg_preds")), "N seg"),
        (network("RepVGGBlock", 16, boxes=14), "N face"),
        (network("RepVGGBlock", 32, reduce="SimConv"), "S (0.3)"),
        (network("RepVGGBlock", 24, reduce="SimConv", neck=()), "T (0.2)"),
        (first_generation(rest=3), "S (0.1)"),
        (first_generation(rest=2), "tiny (0.1)"),
    ],
)
def test_a_network_is_named_by_what_it_is_made_of(root: Module, variant: str) -> None:
    assert family_of(root) == "YOLOv6"
    assert variant_of(root) == variant


@pytest.mark.parametrize(
    ("channels", "letter"), [(48, "S"), (80, "M"), (96, "L"), (16, "16-channel")]
)
def test_a_lite_network_has_its_own_widths(channels: int, letter: str) -> None:
    block = node("a.Sequential", **{"0": node("a.Lite_EffiBlockS2", last=conv(channels))})
    root = node("a.Model", backbone=node("a.Lite_EffiBackbone", lite_effiblock_2=block))
    assert (family_of(root), variant_of(root)) == ("YOLOv6Lite", letter)
