from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnx_adapter.activations import whole_activations
from tests.engines import assert_within_range
from tests.onnx_adapter.engine import outputs
from tests.onnx_adapter.graphs import Net

Body = Callable[[Net], str]


def _clip(n: Net, x: str = "images", shift: float = 3, top: float = 6) -> str:
    return str(n.op("Clip", n.op("Add", x, n.number(shift)), n.number(0), n.number(top)))


HARD_SWISH: dict[str, Body] = {
    "x * clip(x + 3) / 6": lambda n: n.hard_swish("images"),
    "x * (clip(x + 3) / 6)": lambda n: n.op(
        "Mul", "images", n.op("Div", _clip(n), n.number(6))),
    "(clip(x + 3) * (1 / 6)) * x": lambda n: n.op(
        "Mul", n.op("Mul", _clip(n), n.number(1 / 6)), "images"),
    "x * HardSigmoid(x)": lambda n: n.op(
        "Mul", "images", n.op("HardSigmoid", "images", alpha=1 / 6, beta=0.5)),
}  # fmt: skip
HARD_SIGMOID: dict[str, Body] = {
    "clip(x + 3) / 6": lambda n: n.op("Div", _clip(n), n.number(6)),
    "clip(3 + x) * (1 / 6)": lambda n: n.op("Mul", n.number(1 / 6), _clip(n)),
}
NEITHER: dict[str, Body] = {
    "another slope": lambda n: n.op("Mul", "images", n.op("HardSigmoid", "images")),
    "another shift": lambda n: n.op("Div", _clip(n, shift=2), n.number(6)),
    "another top": lambda n: n.op("Div", _clip(n, top=5), n.number(6)),
    "another share": lambda n: n.op("Div", _clip(n), n.number(3)),
    "another factor": lambda n: n.op("Div", n.op("Mul", n.op("Neg", "images"), _clip(n)),
                                     n.number(6)),
}  # fmt: skip


def fused(body: Body) -> list[str]:
    net = Net()
    proto = net.finish([1, 3, 8, 16], body(net))
    model = ir.from_proto(proto)
    whole_activations(model)
    ir.passes.common.RemoveUnusedNodesPass()(model)
    x = np.linspace(-8, 8, 3 * 8 * 16, dtype=np.float32).reshape(1, 3, 8, 16)
    wanted = outputs(proto.SerializeToString(), x)[0]
    assert_within_range(outputs(ir.to_proto(model).SerializeToString(), x)[0], wanted, 1e-6)
    return [node.op_type for node in model.graph if node.op_type != "Identity"]


@pytest.mark.parametrize("form", HARD_SWISH)
def test_hard_swish_is_one_operator(form: str) -> None:
    assert fused(HARD_SWISH[form]) == ["HardSwish"]


@pytest.mark.parametrize("form", HARD_SIGMOID)
def test_hard_sigmoid_is_one_operator(form: str) -> None:
    assert fused(HARD_SIGMOID[form]) == ["HardSigmoid"]


@pytest.mark.parametrize("form", NEITHER)
def test_what_only_looks_like_it_stays(form: str) -> None:
    found = fused(NEITHER[form])
    assert "HardSwish" not in found
    assert len(found) > 1
