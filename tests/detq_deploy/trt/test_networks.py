"""Real networks through the builder: NVIDIA's compiler reads and compiles them, without a GPU."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")

from detq.dialects import write_float
from detq.graph.files import save_model
from detq_deploy.targets import target_named
from detq_deploy.trt.make import Order, make_engine
from detq_deploy.trt.request import Settings
from tests.detq_deploy.nvidia.forms import DFL, LITE, N, network, written
from tests.detq_deploy.trt.rtx_files import needs_rtx

RTX = target_named("trt-rtx")
LAYERS = {N: 63, LITE: 146, DFL: 70}  # with weights, that ask for INT8


@needs_rtx
@pytest.mark.slow
@pytest.mark.parametrize("name", list(LAYERS))
def test_int8_and_float16_are_built(data: Path, tmp_path: Path, name: str) -> None:
    model = network(data, name)
    forms = {
        "int8": written(model, RTX),
        "float16": write_float(model, batch=1, half=True, target=RTX),
    }
    made = {}
    for form, graph in forms.items():
        onnx, engine = tmp_path / f"{form}.onnx", tmp_path / f"{form}.engine"
        save_model(graph, onnx)
        made[form] = make_engine(Order(onnx, RTX, Settings(arch="sm86")), engine)
        assert engine.stat().st_size > 1_000_000
    audit, plain = made["int8"].audit, made["float16"].audit
    assert audit is not None
    assert plain is not None
    assert (audit.asked_int8, audit.in_float, audit.missing) == (LAYERS[name], (), ())
    assert audit.int8_share is not None
    assert audit.int8_share > 0.9
    assert plain.asked_int8 is None
    assert plain.int8_macs == 0 < plain.macs
