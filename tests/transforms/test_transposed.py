import numpy as np
import pytest
import torch

from detq.errors import NotEquivalentError
from detq.graph.execute import compile_slice, execute, parameters
from detq.model import FloatModel
from detq.transforms import transposed
from detq.transforms.merge import fold_bn
from tests.block_writer import Writer
from tests.zoo import tiny_detector

ROUNDED_WEIGHTS = 3e-7  # folding is exact in float64, the file keeps float32


def network(groups: int, *, bias: bool, outside: bool = False) -> FloatModel:
    b = Writer("transposed", 0)
    images = b.input("images", (2, 3, 8, 8))
    x = b.plain_conv(images, 8)
    weight = b.weight(8, 12 // groups, 2, 2, fan_in=8)
    parts = [b.constant("up.weight", weight)]
    if bias:
        parts.append(b.constant("up.bias", b.vector(12, -1, 1)))
    shape = (2, 12, 16, 16)
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2], "group": groups}
    x = b.op("ConvTranspose", x, *parts, name="up", shape=shape, **attributes)
    y = b.norm(x)
    results = {"outputs": y, "more": b.elementwise("Relu", x)} if outside else {"outputs": y}
    return FloatModel(b.finish(results), tiny_detector())


def run(model: FloatModel) -> torch.Tensor:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 8, 8)))
    program = compile_slice(model.graph.graph, ["images"])
    return execute(program, {"images": x}, parameters(program, dtype=torch.float64))["outputs"]


def kinds(model: FloatModel) -> list[str]:
    return [node.op_type for node in model.graph.graph]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_the_normalization_is_gone_and_the_function_is_not(groups: int, bias: bool) -> None:
    before = network(groups, bias=bias)
    after = fold_bn(before)
    assert (kinds(before)[-1], kinds(after)) == ("BatchNormalization", ["Conv", "ConvTranspose"])
    wanted = run(before)
    spread = float(wanted.max() - wanted.min())
    assert float((run(after) - wanted).abs().max()) <= ROUNDED_WEIGHTS * spread
    names = set(after.graph.graph.initializers)
    assert not {"up.weight", "bn.scale"} & names


def test_what_is_read_before_the_normalization_stays() -> None:
    assert "BatchNormalization" in kinds(fold_bn(network(1, bias=True, outside=True)))


def test_another_function_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transposed.np, "sqrt", lambda x: x)
    with pytest.raises(NotEquivalentError, match=r"^up: fold_bn changed the output by "):
        fold_bn(network(1, bias=True))
