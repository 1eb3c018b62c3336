import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from detq.errors import InputError, TargetError, TargetUnavailableError
from detq.graph.files import save_model
from detq_deploy.nvidia import rtx as rtx_builder
from detq_deploy.nvidia.rtx import build_rtx
from detq_deploy.trt import build_process
from tests.detq_deploy.lint.sketch import Sketch


def saved(model: ir.Model, folder: Path) -> Path:
    save_model(model, folder / "model.onnx")
    return folder / "model.onnx"


def one_layer() -> ir.Model:
    s = Sketch()
    return s.done(s.relu(s.layer(s.pair(s.images), size=3)))


def free(sketch: Sketch, *dims: int) -> None:
    shape = sketch.images.shape
    assert shape is not None
    sketch.images.shape = ir.Shape([f"d{i}" if i in dims else n for i, n in enumerate(shape)])


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("arch", ["sm86", "sm89", "sm120"])
def test_a_layer_is_compiled_as_int8_for_a_gpu_that_is_not_here(tmp_path: Path, arch: str) -> None:
    plan = tmp_path / "model.plan"
    built = build_rtx(saved(one_layer(), tmp_path), arch, plan=plan)  # type: ignore[arg-type]
    assert (built.refusals, built.arch) == ((), arch)
    layers = [kernel for kernel in built.kernels if kernel.kind == "convolution"]
    assert {name: k.int8 for k in layers for name in ("conv", "pred") if name in k.nodes} == {
        "conv": True,
        "pred": False,
    }
    assert plan.stat().st_size == built.plan_bytes > 1000


@pytest.mark.usefixtures("rtx")
def test_a_refusal_names_the_node(tmp_path: Path) -> None:
    s = Sketch()
    codes = s.constant("bias", np.ones(16, np.int32))
    scale = s.constant("bias.scale", np.full(16, 0.001, np.float32))
    bias = s.op("DequantizeLinear", codes, scale, name="bias.dq", axis=0)
    built = build_rtx(saved(s.done(s.layer(s.pair(s.images), bias=bias)), tmp_path))
    assert [(r.node, r.operator) for r in built.refusals] == [("bias.dq", "DequantizeLinear")]
    assert "Int32" in built.refusals[0].text
    assert built.kernels == ()


@pytest.mark.usefixtures("rtx")
def test_a_batch_that_varies_is_built_for_one_image(tmp_path: Path) -> None:
    s = Sketch()
    free(s, 0)
    built = build_rtx(saved(s.done(s.layer(s.pair(s.images))), tmp_path))
    assert built.refusals == ()
    assert built.kernels[0].inputs[0].shape == (1, 16, 8, 8)


def test_an_unknown_architecture_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no architecture 'sm87' \(one of sm80, sm86"):
        build_rtx(saved(one_layer(), tmp_path), "sm87")  # type: ignore[arg-type]


def as_worker(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(build_process, "_COMMAND", [sys.executable, "-c", program])


def test_a_crash_of_the_library_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_worker(monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(TargetError, match="TensorRT-RTX stopped: signal SIGSEGV"):
        build_rtx(saved(one_layer(), tmp_path))


def test_an_answer_that_never_comes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_worker(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(rtx_builder, "LONGEST", 0.5)
    with pytest.raises(TargetError, match="gave no answer"):
        build_rtx(saved(one_layer(), tmp_path))


def test_without_the_library_the_install_line_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import runpy, sys; sys.modules.update(tensorrt_rtx=None, tensorrt_rtx_bindings=None)"
    program += "; runpy.run_module('detq_deploy.trt.worker', run_name='__main__')"
    as_worker(monkeypatch, program)
    with pytest.raises(TargetUnavailableError, match="trt-check"):
        build_rtx(saved(one_layer(), tmp_path))
