"""Detectors in torch, exported by torch: branches to merge, and columns in dimension 1."""

import io
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

CLASSES = 3


class RepVGG(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.dense = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.dense_bn = nn.BatchNorm2d(outputs, eps=1e-3)
        self.narrow = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.narrow_bn = nn.BatchNorm2d(outputs, eps=1e-3)
        same = inputs == outputs and stride == 1
        self.identity = nn.BatchNorm2d(inputs, eps=1e-3) if same else None

    def forward(self, x: Tensor) -> Tensor:
        total = self.dense_bn(self.dense(x)) + self.narrow_bn(self.narrow(x))
        return torch.relu(total if self.identity is None else total + self.identity(x))


class ConvSiLU(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.SiLU())


def cells(x: Tensor, stride: int) -> Tensor:
    """Centres of the cells in pixels [2, h * w]."""
    lines = (torch.arange(x.shape[3]) + 0.5, torch.arange(x.shape[2]) + 0.5)
    columns, rows = torch.meshgrid(*lines, indexing="xy")
    return torch.stack([columns, rows]).flatten(1).float() * stride


class Rows(nn.Module):
    """[N, L, 5 + classes]: RepVGG blocks, distances from the cells, objectness 1."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(RepVGG(3, 8, 2), RepVGG(8, 8), RepVGG(8, 16, 2))
        self.deep = nn.Sequential(RepVGG(16, 16, 2), RepVGG(16, 16))
        self.heads = nn.ModuleList([nn.Conv2d(16, 4 + CLASSES, 1) for _ in range(2)])

    def forward(self, images: Tensor) -> Tensor:
        fine = self.backbone(images)
        rows = []
        for head, x, stride in zip(self.heads, (fine, self.deep(fine)), (4, 8), strict=True):
            found, points = head(x).flatten(2), cells(x, stride)
            near, far = points - found[:, :2], points + found[:, 2:4]
            ones = torch.ones((x.shape[0], 1, points.shape[1]))  # asked of a feature
            scores = found[:, 4:].sigmoid()
            rows.append(torch.cat([(near + far) / 2, far - near, ones, scores], 1))
        return torch.cat(rows, 2).transpose(1, 2)


class Split(nn.Module):
    """Half of the channels on a way of their own, all of them joined at the end."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = ConvSiLU(width, width)
        self.way = nn.Sequential(
            ConvSiLU(width // 2, width // 2, 3), ConvSiLU(width // 2, width // 2, 3)
        )
        self.last = ConvSiLU(3 * width // 2, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.first(x).chunk(2, 1))
        return self.last(torch.cat([*parts, parts[-1] + self.way(parts[-1])], 1))


class Channels(nn.Module):
    """[N, 4 + classes, L]: SiLU, splits, pools in a chain, distributions over bins."""

    bins = 4

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvSiLU(3, 8, 3, 2)
        self.fine = nn.Sequential(ConvSiLU(8, 16, 3, 2), Split(16))
        self.coarse = nn.Sequential(ConvSiLU(16, 16, 3, 2), Split(16))
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.after = ConvSiLU(48, 16)
        self.fuse = Split(32)
        self.boxes = nn.ModuleList([self._head(w, 4 * self.bins) for w in (32, 16)])
        self.scores = nn.ModuleList([self._head(w, CLASSES) for w in (32, 16)])
        self.mean = nn.Conv2d(self.bins, 1, 1, bias=False)
        self.mean.weight.data[:] = torch.arange(self.bins).view(1, -1, 1, 1)

    def _head(self, inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(ConvSiLU(inputs, 8, 3), nn.Conv2d(8, outputs, 1))

    def forward(self, images: Tensor) -> Tensor:
        fine = self.fine(self.stem(images))
        steps = [self.coarse(fine)]
        steps += [self.pool(steps[-1])]
        coarse = self.after(torch.cat([*steps, self.pool(steps[-1])], 1))
        up = nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        features = [self.fuse(torch.cat([up, fine], 1)), coarse]
        boxes = torch.cat([h(x).flatten(2) for h, x in zip(self.boxes, features, strict=True)], 2)
        scores = torch.cat([h(x).flatten(2) for h, x in zip(self.scores, features, strict=True)], 2)
        share = boxes.view(boxes.shape[0], 4, self.bins, -1).transpose(2, 1).softmax(1)
        near, far = self.mean(share).view(boxes.shape[0], 4, -1).chunk(2, 1)
        steps = [cells(x, 1) for x in features]
        counts = [x.shape[1] for x in steps]
        stride = torch.cat([torch.full((1, counts[0]), 4.0), torch.full((1, counts[1]), 8.0)], 1)
        points = torch.cat(steps, 1)
        low, high = points - near, points + far
        whole = torch.cat([(low + high) / 2, high - low], 1) * stride
        return torch.cat([whole, scores.sigmoid()], 1)


def exported(
    model: nn.Module,
    *,
    opset: int = 17,
    axes: Mapping[str, Mapping[int, str]] | None = None,
    size: tuple[int, int] = (32, 32),
) -> bytes:
    """The ONNX file that torch writes, in evaluation but with nothing folded or merged."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch prefers its newer exporter
        torch.onnx.export(
            model.eval(), (torch.rand(1, 3, *size),), file, opset_version=opset, dynamo=False,
            input_names=["images"], output_names=["output0"], dynamic_axes=axes,
            training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
        )  # fmt: skip
    return file.getvalue()


def with_statistics(model: nn.Module) -> nn.Module:
    """Statistics as a training leaves them: no mean is 0, no variance 1."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.running_mean, -0.1), (module.running_var, 0.5),
                                (module.weight, 0.5), (module.bias, -0.1)):  # fmt: skip
                assert tensor is not None
                tensor.data = torch.rand(tensor.shape, generator=generator) + low
    return model
