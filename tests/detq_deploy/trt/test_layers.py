import json
import sys
from pathlib import Path

import pytest

from detq.errors import InputError, TargetUnavailableError
from detq_deploy.nvidia.asked import asked_of
from detq_deploy.trt.layers import report_engine
from detq_deploy.trt.machine import Machine
from detq_deploy.trt.request import LayersForm
from detq_deploy.trt.side_car import SideCar, write_side_car

INSPECTOR = Path(__file__).parents[1] / "nvidia" / "inspector"
ORIN = Machine(product="tensorrt", tensorrt="8.5.2.2", gpu="Orin", sm="sm87")
ASKED = {"stem.conv": True, "mid.conv": True, "up.upsample": False, "pred.conv": False}


def engine_with(folder: Path, layers: str, form: LayersForm = "inspector") -> Path:
    path = folder / "model.engine"
    path.write_bytes(b"plan")
    side_car = SideCar(
        onnx="model.onnx", onnx_sha256="", engine_sha256="", engine_bytes=4, machine=ORIN,
        asked=ASKED, layers=layers, layers_form=form,
    )  # fmt: skip
    write_side_car(side_car, path)
    return path


def test_a_side_car_needs_no_gpu(tmp_path: Path) -> None:
    path = engine_with(tmp_path, (INSPECTOR / "trt8.6.json").read_text())
    found = report_engine(path, times=INSPECTOR / "profile8.json")
    assert (found.engine, found.bytes) == ("TensorRT 8.5.2.2 on Orin (sm87)", 4)
    assert (found.asked_by, found.layers_by) == ("model.engine.json", "model.engine.json")
    assert found.audit.in_float == ("mid.conv",)
    assert found.audit.total_ms == pytest.approx(4.5)
    layers = {found.layers_of(one) for one in found.audit.layers if one.kind == "convolution"}
    assert layers == {("stem.conv",), ("mid.conv",), ("up.upsample",), ("pred.conv",)}


def test_a_table_of_tensorrt_rtx(tmp_path: Path, data: Path) -> None:
    table = (data / "trt-layers" / "n320-int8-sm86.txt").read_text()
    found = report_engine(engine_with(tmp_path, table, "table"))
    assert found.audit.kinds["convolution"] == 71
    loose = tmp_path / "layers.txt"
    loose.write_text(table.removeprefix("Layers:\n"))
    assert report_engine(loose).audit.kinds == found.audit.kinds


def test_the_file_it_was_built_from_tells_what_was_asked(tmp_path: Path, qdq_file: Path) -> None:
    assert asked_of(qdq_file) == {"first.conv": True, "second.conv": True}
    layers = tmp_path / "layers.json"
    layers.write_text(json.dumps({"Layers": ["first.conv", "second.conv"]}))
    found = report_engine(layers, onnx=qdq_file)
    assert (found.audit.asked_int8, found.asked_by, found.engine) == (2, qdq_file.name, "")


def test_a_float_file_asks_for_nothing(tmp_path: Path, float_file: Path) -> None:
    assert asked_of(float_file) == {}
    layers = INSPECTOR / "trt10.json"
    assert report_engine(layers, onnx=float_file).audit.asked_int8 is None


def test_without_side_car_and_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "alone.engine"
    path.write_bytes(b"plan")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_bindings", None)
    message = "has no list of its layers beside it, and TensorRT is not installed"
    with pytest.raises(TargetUnavailableError, match=message) as caught:
        report_engine(path)
    assert "trtexec --exportLayerInfo" in caught.value.hint


def test_what_is_no_list(tmp_path: Path) -> None:
    path = tmp_path / "picture.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"picture\.json: is no text"):
        report_engine(path)
