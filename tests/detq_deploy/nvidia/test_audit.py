from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from detq.graph.files import save_model
from detq_deploy.lint import Lint, lint_file
from detq_deploy.nvidia.audit import Audit, audit, compiled_layers
from detq_deploy.nvidia.kernel import Kernel, Tensor
from detq_deploy.targets import target_named
from detq_deploy.trt.refusals import finding_from_refusal
from detq_deploy.trt.request import Refusal
from tests.detq_deploy.lint.sketch import Sketch

CODES, WEIGHTS = Tensor("x", (1, 16, 8, 8), "Int8"), Tensor("w", (16, 16, 1, 1), "Int8")


def asked(model: ir.Model, folder: Path) -> Audit:
    path = folder / "model.onnx"
    save_model(model, path)
    return audit(path, lint_file(path, target_named("trt-rtx")))


def convolution(name: str, *nodes: str, codes: bool = True) -> Kernel:
    return Kernel(name, "correlation", (CODES,) if codes else (), (WEIGHTS,), (), nodes)


def test_a_kernel_is_its_layers_own_by_name() -> None:
    kernels = [convolution("b_U1_myl0_1", "a", "b"), convolution("a_U2_myl0_2", "a", codes=False)]
    found = compiled_layers(kernels, {"a": True, "b": True, "c": True})
    assert [(x.node, x.compiled, x.fell_back) for x in found] == [
        ("a", False, True),
        ("b", True, False),
        ("c", None, True),
    ]


@pytest.mark.usefixtures("rtx")
def test_prediction_and_table_agree_and_helpers_are_counted(tmp_path: Path) -> None:
    s = Sketch()
    x = s.pair(s.relu(s.layer(s.pair(s.images), "first", size=3)), name="y")
    up = s.layer(x, "up", kind="ConvTranspose", axis=None, count=1)
    found = asked(s.done(s.layer(x, "second", size=3), up), tmp_path)
    assert {layer.node: (layer.predicted, layer.compiled) for layer in found.layers} == {
        "first": (True, True),
        "second": (True, True),
        "up": (False, False),  # NVIDIA has no INT8 form, rounded or not
        "pred": (False, False),
    }
    assert found.findings == ()
    assert found.kernels["convolution"] == 4
    assert found.helpers == sum(n for k, n in found.kernels.items() if k != "convolution") > 0
    assert found.bytes_moved > found.plan_bytes / 100


@pytest.mark.usefixtures("rtx")
def test_a_scale_for_each_channel_runs_in_float(tmp_path: Path) -> None:
    s = Sketch()
    x = s.pair(s.images, np.linspace(0.1, 0.2, 16, dtype=np.float32), axis=1)
    found = asked(s.done(s.layer(x, size=3)), tmp_path)
    assert [(x.predicted, x.compiled) for x in found.layers if x.node == "conv"] == [(False, False)]


@pytest.mark.usefixtures("rtx")
def test_a_layer_that_fell_back_is_a_finding(tmp_path: Path) -> None:
    s = Sketch()
    path = tmp_path / "model.onnx"
    save_model(s.done(s.layer(s.pair(s.images), size=3)), path)
    told = Lint(target="", findings=(), int8={"conv": True, "pred": True}, boundaries=())
    found = audit(path, told).findings
    assert [(f.rule, f.node, f.what) for f in found] == [
        ("nvidia-float", "pred", "predicted INT8, compiled in float")
    ]


@pytest.mark.usefixtures("rtx")
def test_a_refusal_is_a_finding_with_node_and_remedy(tmp_path: Path) -> None:
    s = Sketch()
    (found,) = asked(s.done(s.layer(s.pair(s.images, zero=3))), tmp_path).findings
    assert (found.rule, found.severity, found.node) == ("nvidia-refused", "error", "x.q")
    assert "zero" in found.what and "driver" not in found.what and "\n" not in found.what
    assert found.remedy == "quantize symmetrically, int8 with zero point 0"


@pytest.mark.usefixtures("rtx")
def test_other_refusals_have_their_remedy(tmp_path: Path) -> None:
    unknown, scales, zero = Sketch(), Sketch(), Sketch()
    models = {
        "replace the operator": unknown.done(
            unknown.elementwise("Bogus", unknown.layer(unknown.pair(unknown.images)))
        ),
        "write axis 0 for Conv": scales.done(scales.layer(scales.pair(scales.images), count=8)),
        "scales must be positive": zero.done(zero.layer(zero.pair(zero.images, 0.0))),
    }
    for remedy, model in models.items():
        (found,) = asked(model, tmp_path).findings
        assert found.node and remedy in found.remedy


@pytest.mark.parametrize(
    ("text", "node", "what"),
    [
        ("Invalid Node - a.conv", "a.conv", "Conv: invalid, without a reason"),
        (
            "Invalid Node - a.conv\nno axis\n[checkMacros.cpp::f::1] driver",
            "a.conv",
            "Conv: no axis",
        ),
    ],
)
def test_what_nvidia_says_is_cut_to_what_it_means(text: str, node: str, what: str) -> None:
    found = finding_from_refusal(Refusal(node="", operator="Conv", text=text), "TensorRT-RTX")
    assert (found.node, found.what) == (node, what)


@pytest.mark.usefixtures("rtx")
def test_nodes_without_a_name_are_found_by_their_outputs(tmp_path: Path) -> None:
    s = Sketch()
    model = s.done(s.layer(s.pair(s.images), size=3))
    for node in model.graph:
        node.name = None
    layers = {x.node: x.compiled for x in asked(model, tmp_path).layers}
    assert layers == {"node_of_conv": True, "node_of_outputs": False}


@pytest.mark.parametrize("operator", ["EfficientNMS_TRT", "NonMaxSuppression"])
def test_suppression_is_said_to_be_missing_and_nothing_is_built(
    tmp_path: Path, operator: str
) -> None:
    s = Sketch()
    found = asked(s.raw({"outputs": s.op(operator, s.pair(s.images), name="nms")}), tmp_path)
    assert (found.version, found.layers) == ("", ())
    assert [(f.rule, f.severity, f.node) for f in found.findings] == [
        ("nvidia-not-asked", "warning", "nms")
    ]
