import sys
from pathlib import Path

import numpy as np
import pytest

from detq.detection import Detector
from detq.errors import InputError, TargetError
from detq.graph.build import Builder
from detq.graph.files import detector_metadata, save_model
from detq_deploy.onnxruntime_run import OnnxRuntimeRunner
from detq_deploy.openvino_run import OpenVinoRunner
from detq_deploy.remote.host import host_from
from detq_deploy.remote.serving import RemoteRunner
from tests.detq_deploy.remote.with_tensorrt import as_engine, install_tensorrt
from tests.loopback import Device


@pytest.fixture
def detector_file(tmp_path: Path, detector: Detector) -> Path:
    """Rows [1, 64, 5 + 2] that do not depend on the image."""
    rows = np.random.default_rng(5).random((1, 64, 7), np.float32)
    b = Builder("rows")
    x = b.input("images", (1, 3, 16, 16))
    mean = b.op("ReduceMean", x, shape=(1, 1, 1, 1), keepdims=1)
    none = b.op(
        "Mul", mean, b.constant("zero", np.zeros((1, 1, 1), np.float32)), shape=(1, 1, 1, 1)
    )
    flat = b.op("Reshape", none, b.constant("one", np.array([1, 1, 1])), shape=(1, 1, 1))
    found = b.op("Add", flat, b.constant("rows", rows), shape=(1, 64, 7))
    model = b.finish({"outputs": found})
    model.metadata_props.update(detector_metadata(detector))
    save_model(model, tmp_path / "rows.onnx")
    return tmp_path / "rows.onnx"


@pytest.fixture
def engine(float_file: Path, tmp_path: Path) -> Path:
    return as_engine(float_file, tmp_path / "float.engine")


def pixels() -> np.ndarray:
    codes = np.random.default_rng(3).integers(0, 256, (1, 3, 16, 16))
    return (codes / 255).astype(np.float32)


def test_an_engine_over_there_gives_what_it_gives_here(
    a_device: Device, engine: Path, float_file: Path
) -> None:
    install_tensorrt(a_device)
    with RemoteRunner(host_from(a_device.on), engine, contract=float_file) as runner:
        assert runner.name == "TensorRT 10.3.0 on Orin (sm87) at 127.0.0.1"
        assert (runner.isa, runner.batch) == ("sm87", 1)
        found = runner(pixels())
        noise = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
        other = runner(noise)
        detector = runner.detector
    with OnnxRuntimeRunner(float_file) as here:
        np.testing.assert_array_equal(found["outputs"], here(pixels())["outputs"])
        np.testing.assert_array_equal(other["outputs"], here(noise)["outputs"])
        assert detector == here.detector


def test_what_was_bytes_travels_as_bytes(a_device: Device, engine: Path, float_file: Path) -> None:
    install_tensorrt(a_device)
    noise = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    with RemoteRunner(host_from(a_device.on), engine, contract=float_file) as runner:
        sent = [a_device.cable.sent]
        for images in (pixels(), noise):
            runner(images)
            sent.append(a_device.cable.sent)
    as_bytes, as_floats = np.diff(sent)
    # 768 bytes of chance, a head and what ssh adds; as floats those bytes would be 1,700 packed.
    assert as_bytes < 1300
    assert as_floats > 2700


def test_a_cable_that_is_pulled_does_not_end_the_evaluation(
    a_device: Device, engine: Path, float_file: Path
) -> None:
    install_tensorrt(a_device)
    with RemoteRunner(host_from(a_device.on), engine, contract=float_file) as runner:
        before = runner(pixels())
        a_device.cable.cut()
        after = runner(pixels())
        np.testing.assert_array_equal(before["outputs"], after["outputs"])


def test_a_device_that_is_gone_is_told(a_device: Device, engine: Path, float_file: Path) -> None:
    install_tensorrt(a_device)
    with RemoteRunner(host_from(a_device.on), engine, contract=float_file) as runner:
        a_device.cable.close()
        with pytest.raises(TargetError, match=r"connection was lost|cannot be reached"):
            runner(pixels())


def test_an_engine_that_tensorrt_does_not_take_is_told(
    a_device: Device, float_file: Path, tmp_path: Path
) -> None:
    install_tensorrt(a_device)
    broken = tmp_path / "broken.engine"
    broken.write_bytes(b"not an engine")
    with pytest.raises(TargetError, match=r"does not take broken.engine \(build the engine there"):
        RemoteRunner(host_from(a_device.on), broken, contract=float_file)


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("exit 127", "has no python3"),
        ('case "$*" in *version_info*) echo 3.6.9;; esac', "has Python 3.6.9 .*3.8 or later"),
        ('case "$*" in *version_info*) echo 3.8.10;; esac', "install python3-numpy python3-libn"),
    ],
)
def test_a_python_that_will_not_do_is_told(
    a_device: Device, engine: Path, python: str, said: str
) -> None:
    a_device.program("python3", f"#!/bin/sh\n{python}\n")
    with pytest.raises(TargetError, match=said):
        RemoteRunner(host_from(a_device.on), engine)


def test_a_runner_that_dies_is_told_with_its_last_words(
    a_device: Device, engine: Path, float_file: Path
) -> None:
    install_tensorrt(a_device)
    real = (a_device.programs / "python3").read_text()
    dying = 'case "$2" in serve) echo "Segmentation fault" >&2; exit 139;; esac'
    a_device.program("python3", real.replace("exec ", f"{dying}\nexec "))
    with pytest.raises(TargetError, match="the runner there stopped: Segmentation fault"):
        RemoteRunner(host_from(a_device.on), engine, contract=float_file)


def test_an_onnx_file_needs_detq_over_there(a_device: Device, float_file: Path) -> None:
    install_tensorrt(a_device)
    with pytest.raises(TargetError, match=r"has no detq.*build an engine first: detq build float"):
        RemoteRunner(host_from(a_device.on), float_file)


def test_detq_over_there_runs_any_of_its_engines(a_device: Device, float_file: Path) -> None:
    a_device.program("detq", "#!/bin/sh\n")
    a_device.program("python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    with RemoteRunner(host_from(a_device.on), float_file, backend="openvino") as runner:
        assert runner.name.startswith("OpenVINO")
        assert runner.isa
        found = runner(pixels())
    with OpenVinoRunner(float_file) as here:
        # The same engine and file; its threads may add up in another order.
        np.testing.assert_allclose(found["outputs"], here(pixels())["outputs"], atol=1e-5)
    with pytest.raises(TargetError, match="is an ONNX file, TensorRT runs engines"):
        RemoteRunner(host_from(a_device.on), float_file, backend="tensorrt")


def test_rows_that_cannot_be_boxes_stay_over_there(
    a_device: Device, detector_file: Path, tmp_path: Path
) -> None:
    install_tensorrt(a_device)
    engine = as_engine(detector_file, tmp_path / "rows.engine")
    images = np.zeros((1, 3, 16, 16), np.float32)
    with OnnxRuntimeRunner(detector_file) as here:
        rows = here(images)["outputs"]
    with RemoteRunner(host_from(a_device.on), engine, contract=detector_file, above=0.5) as runner:
        kept = runner(images)["outputs"]
    sure = (rows[0, :, 4] > 0.5) & (rows[0, :, 5:].max(axis=1) > 0.5)
    assert 0 < sure.sum() < len(rows[0])
    np.testing.assert_array_equal(kept[0], rows[0][sure])


def test_a_file_that_is_missing_is_told_before_anybody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        RemoteRunner(host_from("nobody.invalid"), tmp_path / "missing.engine")
