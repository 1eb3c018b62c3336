import numpy as np
import onnx_ir as ir
import pytest

from detq.graph.build import Builder
from detq.graph.layer_shapes import misfits
from tests.zoo import ZOO


def layer(op: str, *shapes: tuple[int, ...], channels: int = 8, **attributes: object) -> ir.Graph:
    """One node on 8 channels with weights of these shapes and an output of ``channels``."""
    to = Builder("net")
    x = to.input("x", ["N", 8, 5, 5])
    weights = [to.constant(f"w{i}", np.zeros(shape, np.float32)) for i, shape in enumerate(shapes)]
    y = to.op(op, x, *weights, name="layer", shape=["N", channels, 5, 5], **attributes)
    return to.finish({"y": y}).graph


@pytest.mark.parametrize("kind", ZOO)
def test_every_layer_of_our_networks_fits(kind: str) -> None:
    assert list(misfits(ZOO[kind]().graph.graph)) == []


@pytest.mark.parametrize(
    "graph",
    [
        layer("Conv", (8, 8, 3, 3), (8,), kernel_shape=[3, 3]),
        layer("Conv", (12, 2, 1, 1), group=4, channels=12),
        layer("ConvTranspose", (8, 3, 2, 2), (6,), group=2, channels=6),
        layer("BatchNormalization", (8,), (8,), (8,), (8,)),
        layer("Relu"),
    ],
)
def test_what_fits(graph: ir.Graph) -> None:
    assert list(misfits(graph)) == []


@pytest.mark.parametrize(
    "graph",
    [
        layer("Conv", (8, 8, 3)),
        layer("Conv", (8, 7, 3, 3)),
        layer("Conv", (9, 8, 3, 3)),
        layer("Conv", (8, 8, 3, 3), (7,)),
        layer("Conv", (8, 8, 3, 3), kernel_shape=[3, 1]),
        layer("Conv", (8, 8, 3, 3), group=2),
        layer("Conv", (9, 2, 3, 3), group=4, channels=9),
        layer("Conv", (8, 8, 3, 3), group=0),
        layer("ConvTranspose", (7, 8, 2, 2)),
        layer("ConvTranspose", (8, 4, 2, 2)),
        layer("BatchNormalization", (8,), (8,), (8,), (7,)),
        layer("BatchNormalization", (7,), (7,), (7,), (7,)),
    ],
)
def test_what_does_not(graph: ir.Graph) -> None:
    assert list(misfits(graph)) == ["layer"]
