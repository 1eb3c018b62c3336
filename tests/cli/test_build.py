import json
from pathlib import Path

import pytest

from tests.cli.calls import Detq
from tests.detq_deploy.trt.rtx_files import needs_rtx, refused, tiny


@needs_rtx
def test_an_engine_is_built_and_told(detq: Detq, tmp_path: Path) -> None:
    onnx = tiny(tmp_path)
    found = detq("build", onnx).done()
    engine = onnx.with_suffix(".engine")
    assert engine.stat().st_size > 1000
    assert f"{engine}: TensorRT-RTX" in found.out
    assert "1 of 1 layer that ask for INT8 have it" in found.out


@needs_rtx
def test_figures_come_as_json(detq: Detq, tmp_path: Path) -> None:
    beside = tiny(tmp_path, "float16", quantized=False)
    words = ("--beside", beside, "--output", tmp_path / "m.engine", "--arch", "sm89", "--json")
    found = json.loads(detq("build", tiny(tmp_path), *words).done().out)
    assert found["engine"] == str(tmp_path / "m.engine")
    assert found["engine_json"]["machine"]["sm"] == "sm89"
    assert "layers" not in found["engine_json"]
    assert found["layers"]["asked_int8"] == 1
    assert found["sister"]["plan_bytes"] > 1000


@needs_rtx
def test_a_refusal_is_a_finding_with_its_node(detq: Detq, tmp_path: Path) -> None:
    found = detq("build", refused(tmp_path))
    assert found.code == 1
    assert "error nvidia-refused: bias.dq: DequantizeLinear" in found.out
    assert "keep biases float" in found.out
    assert "no engine was written" in found.out


def test_trtexec_is_printed_for_the_version_of_the_target(detq: Detq, tmp_path: Path) -> None:
    weak = tiny(tmp_path, "trt8.5")
    found = detq("build", weak, "--target", "jetpack5.1", "--print-trtexec").done()
    assert found.out.startswith(f"trtexec --onnx={weak} --saveEngine=")
    assert " --fp16 --int8 " in found.out
    strong = tiny(tmp_path, "trt10.3")
    found = detq("build", strong, "--print-trtexec", "--workspace", "512", "--json").done()
    figures = json.loads(found.out)
    assert figures["tensorrt"] == "10.3"
    assert {"--stronglyTyped", "--memPoolSize=workspace:512"} <= set(figures["command"])


def test_a_calibration_cache_makes_a_weakly_typed_network(detq: Detq, tmp_path: Path) -> None:
    cache = tmp_path / "m.cache"
    cache.write_text("TRT-100300-EntropyCalibration2\n")
    onnx = tiny(tmp_path, "float", quantized=False)
    words = ("--target", "jetpack6.2", "--dla", "0", "--calibration-cache", cache)
    found = detq("build", onnx, *words, "--print-trtexec").done()
    assert f"--fp16 --int8 --calib={cache} --useDLACore=0 --allowGPUFallback" in found.out


def test_what_cannot_be_built_is_one_line(detq: Detq, tmp_path: Path) -> None:
    foreign = tiny(tmp_path, "")
    detq("build", foreign).refused("does not say which TensorRT it is for", "--target")
    plain = tiny(tmp_path, "plain")
    detq("build", plain, "--target", "trt10.3").refused("for simulation, not trt10.3", "export")
    detq("build", plain, "--target", "openvino").refused("openvino takes ONNX files as they are")
    detq("build", tmp_path / "none.onnx").refused("no such file")
    rtx = tiny(tmp_path)
    detq("build", rtx, "--batch", "4").refused("takes 1 images at a time", "--batch")
    detq("build", rtx, "--batch", "4:1").refused("'4:1' is no span")
    detq("build", rtx, "--optimization-level", "9").refused("--help")
    detq("build", rtx, "--beside", "none.onnx").refused("none.onnx: no such file")
    detq("build", rtx, "--beside", plain).refused("is written for simulation, not trt-rtx")
    assert not list(tmp_path.glob("*.engine*"))


def test_without_tensorrt_the_remedy_is_told(detq: Detq, tmp_path: Path) -> None:
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        onnx = tiny(tmp_path, "trt10.3")
        detq("build", onnx).refused("TensorRT is not installed", "apt install python3-libnvinfer")
        assert not list(tmp_path.glob("*.engine*"))
        return
    pytest.skip("TensorRT is installed here")
