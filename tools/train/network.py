"""The layout of YOLOv6 0.4 N in torch at any width and depth, branches apart, forward pass ours.

The classes bear the names that a checkpoint records, so that what torch.save writes of them
is a genuine checkpoint; the modules of these names exist only inside ``recorded``.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn

EPS, MOMENTUM = 1e-3, 0.03
STRIDES = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Layout:
    """How large a network is.

    Attributes:
        width: channels of the stem; 16 in the published N.
        backbone: RepVGG blocks behind each stride of 2 after the stem; (2, 4, 6, 2) in N.
        neck: RepVGG blocks in each fusion of the neck; 4 in N.
    """

    width: int = 16
    backbone: tuple[int, int, int, int] = (2, 4, 6, 2)
    neck: int = 4


class ConvModule(nn.Module):
    """Convolution, normalization, activation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, act: str | None):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=EPS, momentum=MOMENTUM)
        self.activation_type = act
        if act is not None:
            self.act = {"relu": nn.ReLU, "silu": nn.SiLU}[act](inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, outputs, h, w]."""
        x = self.bn(self.conv(x))
        return x if self.activation_type is None else self.act(x)


class ConvBNReLU(nn.Module):
    """``ConvModule`` with ReLU."""

    ACT = "relu"

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1):
        super().__init__()
        self.block = ConvModule(inputs, outputs, kernel, stride, self.ACT)

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, outputs, h, w]."""
        found: Tensor = self.block(x)
        return found


class ConvBNSiLU(ConvBNReLU):
    """``ConvModule`` with SiLU."""

    ACT = "silu"


class RepVGGBlock(nn.Module):
    """Sum of a 3 x 3, a 1 x 1 and, where the shape stays, an identity branch; each normalized."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.nonlinearity, self.se = nn.ReLU(inplace=True), nn.Identity()
        same = inputs == outputs and stride == 1
        norm = nn.BatchNorm2d(inputs, eps=EPS, momentum=MOMENTUM) if same else None
        self.rbr_identity = norm
        self.rbr_dense = ConvModule(inputs, outputs, 3, stride, None)
        self.rbr_1x1 = ConvModule(inputs, outputs, 1, stride, None)

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, outputs, h, w]."""
        total = self.rbr_dense(x) + self.rbr_1x1(x)
        if self.rbr_identity is not None:
            total = total + self.rbr_identity(x)
        found: Tensor = self.nonlinearity(total)
        return found


class RepBlock(nn.Module):
    """A chain of RepVGG blocks."""

    def __init__(self, inputs: int, outputs: int, repeats: int = 1):
        super().__init__()
        self.conv1 = RepVGGBlock(inputs, outputs)
        rest = [RepVGGBlock(outputs, outputs) for _ in range(repeats - 1)]
        self.block = nn.Sequential(*rest) if rest else None

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, outputs, h, w]."""
        x = self.conv1(x)
        return x if self.block is None else self.block(x)


class CSPSPPFModule(nn.Module):
    """Pyramid pooling on one of two ways."""

    def __init__(self, width: int):
        super().__init__()
        half = width // 2
        self.cv1, self.cv2 = ConvBNReLU(width, half), ConvBNReLU(width, half)
        self.cv3, self.cv4 = ConvBNReLU(half, half, 3), ConvBNReLU(half, half)
        self.m = nn.MaxPool2d(5, 1, 2)
        self.cv5, self.cv6 = ConvBNReLU(4 * half, half), ConvBNReLU(half, half, 3)
        self.cv7 = ConvBNReLU(2 * half, width)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape."""
        steps = [self.cv4(self.cv3(self.cv1(x)))]
        for _ in range(3):
            steps.append(self.m(steps[-1]))
        long = self.cv6(self.cv5(torch.cat(steps, 1)))
        found: Tensor = self.cv7(torch.cat([self.cv2(x), long], 1))
        return found


class SimCSPSPPF(nn.Module):
    """``CSPSPPFModule`` as the backbone holds it."""

    def __init__(self, width: int):
        super().__init__()
        self.cspsppf = CSPSPPFModule(width)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape."""
        found: Tensor = self.cspsppf(x)
        return found


class Transpose(nn.Module):
    """Twice the resolution by a transposed convolution."""

    def __init__(self, width: int):
        super().__init__()
        self.upsample_transpose = nn.ConvTranspose2d(width, width, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, width, 2 * h, 2 * w]."""
        found: Tensor = self.upsample_transpose(x)
        return found


class BiFusion(nn.Module):
    """Three resolutions joined at the middle one."""

    def __init__(self, same: int, finer: int, width: int):
        super().__init__()
        self.cv1, self.cv2 = ConvBNReLU(same, width), ConvBNReLU(finer, width)
        self.cv3 = ConvBNReLU(3 * width, width)
        self.upsample, self.downsample = Transpose(width), ConvBNReLU(width, width, 3, 2)

    def forward(self, coarse: Tensor, same: Tensor, finer: Tensor) -> Tensor:
        """Features [N, width, h, w] of the middle resolution."""
        parts = [self.upsample(coarse), self.cv1(same), self.downsample(self.cv2(finer))]
        found: Tensor = self.cv3(torch.cat(parts, 1))
        return found


class EfficientRep(nn.Module):
    """Backbone: features at strides 4, 8, 16 and 32."""

    def __init__(self, layout: Layout):
        super().__init__()
        self.fuse_P2 = True
        self.stem = RepVGGBlock(3, layout.width, 2)
        for number, repeats in enumerate(layout.backbone, start=2):
            outputs = layout.width << (number - 1)
            layers: list[nn.Module] = [RepVGGBlock(outputs // 2, outputs, 2)]
            layers.append(RepBlock(outputs, outputs, repeats))
            layers += [SimCSPSPPF(outputs)] * (number == 5)
            setattr(self, f"ERBlock_{number}", nn.Sequential(*layers))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Four features, finest first."""
        found = [self.stem(x)]
        for number in (2, 3, 4, 5):
            found.append(getattr(self, f"ERBlock_{number}")(found[-1]))
        return found[1:]


class RepBiFPANNeck(nn.Module):
    """Neck: down by BiFusion, up by strides, three levels out."""

    def __init__(self, layout: Layout):
        super().__init__()
        w2, w4, w8 = (layout.width * n for n in (2, 4, 8))
        self.reduce_layer0 = ConvBNReLU(2 * w8, w4)
        self.Bifusion0 = BiFusion(w8, w4, w4)
        self.Rep_p4 = RepBlock(w4, w4, layout.neck)
        self.reduce_layer1 = ConvBNReLU(w4, w2)
        self.Bifusion1 = BiFusion(w4, w2, w2)
        self.Rep_p3 = RepBlock(w2, w2, layout.neck)
        self.downsample2 = ConvBNReLU(w2, w2, 3, 2)
        self.Rep_n3 = RepBlock(2 * w2, w4, layout.neck)
        self.downsample1 = ConvBNReLU(w4, w4, 3, 2)
        self.Rep_n4 = RepBlock(2 * w4, w8, layout.neck)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Three features, finest first."""
        p2, p3, p4, p5 = features
        top = self.reduce_layer0(p5)
        middle = self.reduce_layer1(self.Rep_p4(self.Bifusion0(top, p4, p3)))
        fine = self.Rep_p3(self.Bifusion1(middle, p3, p2))
        n3 = self.Rep_n3(torch.cat([self.downsample2(fine), middle], 1))
        return [fine, n3, self.Rep_n4(torch.cat([self.downsample1(n3), top], 1))]


class Detect(nn.Module):
    """Head: scores and boxes apart, one prediction per cell."""

    def __init__(self, classes: int, widths: tuple[int, ...]):
        super().__init__()
        self.nc, self.no, self.nl, self.use_dfl, self.reg_max = classes, classes + 5, 3, False, 0
        self.stride = torch.tensor(STRIDES)
        self.stems = nn.ModuleList([ConvBNSiLU(w, w) for w in widths])
        self.cls_convs = nn.ModuleList([ConvBNSiLU(w, w, 3) for w in widths])
        self.reg_convs = nn.ModuleList([ConvBNSiLU(w, w, 3) for w in widths])
        self.cls_preds = nn.ModuleList([nn.Conv2d(w, classes, 1) for w in widths])
        self.reg_preds = nn.ModuleList([nn.Conv2d(w, 4, 1) for w in widths])

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits [N, L, classes], and left, top, right, bottom in pixels [N, L, 4]."""
        scores, boxes = [], []
        for i, (feature, stride) in enumerate(zip(features, STRIDES, strict=True)):
            x = self.stems[i](feature)
            scores.append(self.cls_preds[i](self.cls_convs[i](x)).flatten(2))
            distances = self.reg_preds[i](self.reg_convs[i](x)).flatten(2)
            points = cell_centres(feature.shape[2], feature.shape[3], stride).to(distances)
            near, far = distances.split(2, 1)
            boxes.append(torch.cat([points - near * stride, points + far * stride], 1))
        return torch.cat(scores, 2).transpose(1, 2), torch.cat(boxes, 2).transpose(1, 2)


class Model(nn.Module):
    """The detector: backbone, neck, head, and the names of its classes."""

    def __init__(self, layout: Layout, names: tuple[str, ...]):
        super().__init__()
        self.backbone, self.neck = EfficientRep(layout), RepBiFPANNeck(layout)
        self.detect = Detect(len(names), tuple(layout.width * n for n in (2, 4, 8)))
        self.stride, self.names = torch.tensor(STRIDES), list(names)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N, L, classes] and boxes [N, L, 4] in pixels of images [N, 3, H, W], 0…1."""
        found: tuple[Tensor, Tensor] = self.detect(self.neck(self.backbone(images)))
        return found


def cell_centres(height: int, width: int, stride: int) -> Tensor:
    """Columns and rows in pixels of every cell [2, h * w]."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack([x.flatten(), y.flatten()]) + 0.5) * stride


RECORDED = {
    "yolov6.layers.common": (
        ConvModule, ConvBNReLU, ConvBNSiLU, RepVGGBlock, RepBlock, CSPSPPFModule, SimCSPSPPF,
        Transpose, BiFusion,
    ),
    "yolov6.models.efficientrep": (EfficientRep,),
    "yolov6.models.reppan": (RepBiFPANNeck,),
    "yolov6.models.effidehead": (Detect,),
    "yolov6.models.yolo": (Model,),
}  # fmt: skip


@contextmanager
def recorded() -> Iterator[None]:
    """Pickles made inside name the classes as a real checkpoint does."""
    own = {kind: kind.__module__ for kinds in RECORDED.values() for kind in kinds}
    parents = ("yolov6", "yolov6.layers", "yolov6.models")
    try:
        sys.modules.update({name: ModuleType(name) for name in (*parents, *RECORDED)})
        for name, kinds in RECORDED.items():
            for kind in kinds:
                kind.__module__ = name
                setattr(sys.modules[name], kind.__name__, kind)
        yield
    finally:
        for name in (*parents, *RECORDED):
            del sys.modules[name]
        for kind, module in own.items():
            kind.__module__ = module
