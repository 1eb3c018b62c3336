import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from detq.cli import device_check
from detq_deploy import targets
from detq_deploy.targets import TENSORRT
from tests.cli.calls import Detq
from tests.cli.test_without_torch import without_torch


@pytest.mark.slow
def test_the_engines_of_a_processor_without_torch(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    told = without_torch("doctor", "--device-check", report, "--pictures", 20, "--json").done()
    found = json.loads(report.read_text())
    assert json.loads(told.out) == found
    assert found["isa"]
    assert set(found["versions"]) >= {"onnx", "numpy"}
    assert set(found["engines"]) == {"openvino", "onnxruntime"}
    for backend, one in found["engines"].items():
        assert "failed" not in one, backend
        assert one["target"] == "openvino-avx2"
        assert one["float_layers"]["int8"] == 0
        assert one["float_accuracy"]["images"] == 20
        # On twenty pictures 0.03 of AP is two boxes; the detector has 0.66 on three hundred.
        assert one["int8_accuracy"]["AP"] == pytest.approx(one["float_accuracy"]["AP"], abs=0.03)
        assert one["int8_accuracy"]["AP"] > 0.5
        assert one["speed"]["timings"]["int8"]["wall_ms"]["median"] > 0
    openvino = found["engines"]["openvino"]["int8_layers"]
    assert openvino["int8"] > 0.7 * openvino["convolutions"]


@pytest.mark.slow
def test_what_fails_is_written_beside_what_works(
    detq: Detq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("tensorrt_rtx_bindings") is None:
        pytest.skip("TensorRT-RTX, which builds without a GPU, is not installed")
    # A machine whose TensorRT builds and whose GPU does not run: both engines and their layers
    # are there, and the rest has its reason.
    monkeypatch.setattr(device_check, "_backends", lambda: ("tensorrt",))
    monkeypatch.setattr(device_check, "_tensorrt", lambda: "trt-rtx")
    like_tensorrt = replace(TENSORRT["trt-rtx"], transposed="per_tensor")
    monkeypatch.setattr(targets, "target_named", lambda name: like_tensorrt)
    report = tmp_path / "report.json"
    told = detq("doctor", "--device-check", report, "--pictures", 1)
    assert told.code == 1
    one = json.loads(report.read_text())["engines"]["tensorrt"]
    assert one["int8_build"]["int8_share_of_products"] > 0.8
    assert one["int8_build"]["machine"]["product"] == "tensorrt-rtx"
    assert one["float_build"]["int8_share_of_products"] == 0
    # So small a network has a larger INT8 plan: its kernels, not its weights, fill it.
    assert [finding["rule"] for finding in one["int8_beside_float"]] == ["int8-larger"]
    assert set(one["failed"]) == {"bench", "eval float", "eval int8"}
    assert "failed: " in told.out


def test_neither_engine_nor_gpu_is_told(
    detq: Detq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_check, "_backends", lambda: ())
    told = detq("doctor", "--device-check", tmp_path / "report.json", "--pictures", 1)
    assert told.code == 1
    assert "no engine is installed here" in told.out


def test_a_report_that_cannot_be_written_is_one_line(detq: Detq, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    report = tmp_path / "file" / "report.json"
    detq("doctor", "--device-check", report, "--pictures", 1).refused("cannot be written")
