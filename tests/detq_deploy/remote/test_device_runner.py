import ast
import ctypes
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detq_deploy.remote import device_runner
from detq_deploy.remote.device_runner import Cuda, Engine, RefusedError
from tests.detq_deploy.trt.contract.double import Double
from tests.detq_deploy.trt.engine_double import EngineDouble, seen
from tests.detq_deploy.trt.host_cuda.library import HostGpu, compiled

FILE = Path(device_runner.__file__)


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HostGpu:
    gpu = HostGpu(compiled(tmp_path))
    library = ctypes.CDLL(gpu.path)
    library.cudaGetErrorString.restype = ctypes.c_char_p
    monkeypatch.setattr(device_runner, "_cudart", lambda: library)
    monkeypatch.setattr(device_runner, "_gpu", lambda: ("Orin", "sm87"))
    return gpu


@pytest.fixture
def plan(tmp_path: Path) -> str:
    (tmp_path / "m.engine").write_bytes(b"plan")
    return str(tmp_path / "m.engine")


def images(batch: int = 1) -> NDArray[Any]:
    return np.random.default_rng(batch).random((batch, 3, 8, 8), np.float32)


def test_the_file_is_python_3_8_and_needs_numpy_alone() -> None:
    tree = ast.parse(FILE.read_text(), feature_version=(3, 8))
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else name.name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    ours = {"numpy"}
    assert imported >= ours
    standard = {"__future__", "ctypes", "glob", "json", "os", "platform", "re", "resource"}
    assert imported - ours <= standard | {"subprocess", "sys", "time", "typing", "zlib"}


def test_it_loads_in_python_3_8() -> None:
    python = shutil.which("python3.8")
    asked = [python or "", "-c", "import numpy"]
    if python is None or subprocess.run(asked, capture_output=True, check=False).returncode != 0:
        pytest.skip("no python3.8 with NumPy here")
    program = f"import sys; sys.path.insert(0, {str(FILE.parent)!r}); import device_runner"
    subprocess.run([python, "-W", "error", "-c", program], check=True)


def test_an_engine_runs_with_every_version(double: Double, gpu: HostGpu, plan: str) -> None:
    EngineDouble(double, gpu)
    engine = Engine(plan, Cuda())
    np.testing.assert_array_equal(engine.run(images())["outputs"], images() * 3)
    assert engine.title == f"TensorRT {double.version.version} on Orin (sm87)"
    assert (engine.input_shape, engine.input_dtype) == ((1, 3, 8, 8), "float32")
    assert engine.cuda.elapsed_ms() > 0
    assert gpu.waiting == 0


def test_another_batch_gets_other_buffers(double: Double, gpu: HostGpu, plan: str) -> None:
    EngineDouble(double, gpu, shape=(-1, 3, 8, 8), profiles=[((1, 3, 8, 8), (4, 3, 8, 8))])
    engine = Engine(plan, Cuda())
    left = []
    for batch in (1, 4, 2, 4):
        np.testing.assert_array_equal(engine.run(images(batch))["outputs"], images(batch) * 3)
        left.append(gpu.left)
    assert len(set(left)) == 1  # what was too small is given back


def test_half_precision_comes_back_as_float32(double: Double, gpu: HostGpu, plan: str) -> None:
    EngineDouble(double, gpu, dtype="float16")
    found = Engine(plan, Cuda()).run(images())["outputs"]
    assert found.dtype == np.float32
    # One rounding of each factor to float16, 2**-11 of it, and one of the product.
    np.testing.assert_allclose(found, images() * 3, rtol=2e-3)


def test_bindings_by_number(double: Double, gpu: HostGpu, plan: str) -> None:
    engine_class = double.module.ICudaEngine  # type: ignore[attr-defined]
    if not hasattr(engine_class, "num_bindings"):
        pytest.skip("gone since TensorRT 10")
    delattr(engine_class, "num_io_tensors")  # as in 8.4
    names, kernels = ("images", "outputs"), []

    def enqueue(_: object, pointers: list[int], stream: int) -> bool:
        def kernel() -> None:
            source, target = (seen(p, (1, 3, 8, 8), np.float32) for p in pointers)
            target[...] = source * 3

        kernels.append(kernel)
        gpu.launch(stream, kernel)
        return True

    double.answers |= {
        "ICudaEngine.num_bindings": 2,
        "ICudaEngine.get_binding_name": lambda _, index: names[index],
        "ICudaEngine.get_binding_dtype": double.module.DataType.FLOAT,  # type: ignore[attr-defined]
        "ICudaEngine.get_binding_shape": (1, 3, 8, 8),
        "ICudaEngine.binding_is_input": lambda _, index: index == 0,
        "IExecutionContext.get_binding_shape": (1, 3, 8, 8),
        "IExecutionContext.execute_async_v2": enqueue,
    }
    found = Engine(plan, Cuda()).run(images())
    np.testing.assert_array_equal(found["outputs"], images() * 3)
    assert kernels


def test_what_goes_wrong_is_said(double: Double, gpu: HostGpu, plan: str) -> None:
    cuda = Cuda()
    tripling = EngineDouble(double, gpu, counted=True)
    with pytest.raises(RefusedError, match="the size of count depends on what is found"):
        Engine(plan, cuda).run(images())
    tripling.refuses = True
    double.answers["ICudaEngine.num_io_tensors"] = 2
    with pytest.raises(RefusedError, match="does not run the engine"):
        Engine(plan, cuda).run(images())
    double.answers["IExecutionContext.set_input_shape"] = False
    with pytest.raises(RefusedError, match="takes no images of"):
        Engine(plan, cuda).run(images())
    double.answers["Runtime.deserialize_cuda_engine"] = None
    with pytest.raises(RefusedError, match=r"does not take m\.engine"):
        Engine(plan, cuda)


def test_an_engine_of_another_gpu_never_reaches_tensorrt(
    double: Double, gpu: HostGpu, plan: str
) -> None:
    EngineDouble(double, gpu)
    built = {"tensorrt": double.version.version, "gpu": "Xavier", "sm": "sm72"}
    Path(f"{plan}.json").write_text(json.dumps({"machine": built}))
    with pytest.raises(RefusedError, match=r"on Xavier \(sm72\), here is .* on Orin \(sm87\)"):
        Engine(plan, Cuda())
    assert not double.called("Runtime.deserialize_cuda_engine")


def test_what_the_side_car_asks_is_set(double: Double, gpu: HostGpu, plan: str) -> None:
    EngineDouble(double, gpu, counted=True)
    built = {"tensorrt": double.version.version, "gpu": "Orin", "sm": "sm87"}
    settings = {"dla_core": 1, "version_compatible": True}
    outputs = [{"name": "count"}, {"name": "outputs"}]
    car = {"machine": built, "settings": settings, "outputs": outputs}
    Path(f"{plan}.json").write_text(json.dumps(car))
    engine = Engine(plan, Cuda())
    assert double.values("Runtime.DLA_core=") == [1]
    assert double.values("Runtime.engine_host_code_allowed=") == [True]
    assert [tensor.name for tensor in engine._outputs] == ["count", "outputs"]


def test_too_little_memory_is_said(gpu: HostGpu) -> None:
    cuda = Cuda()
    gpu.room(1000)
    with pytest.raises(RefusedError, match="cudaMalloc: "):
        cuda.allocate(1001)


def test_no_driver_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: str) -> None:
        raise OSError(path)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(RefusedError, match="no NVIDIA driver"):
        device_runner._gpu()
    with pytest.raises(RefusedError, match=r"none of libcudart\.so\.13"):
        device_runner._cudart()


def test_only_what_cannot_become_a_box_is_left_out() -> None:
    random = np.random.default_rng(1)
    rows = random.random((3, 50, 7)).astype(np.float32)
    rows[1] = 0  # an image without anything
    kept = device_runner.only_candidates(rows, 0.7)
    for before, after in zip(rows, kept, strict=True):
        sure = before[(before[:, 4] > 0.7) & (before[:, 5:].max(axis=1) > 0.7)]
        np.testing.assert_array_equal(after[: len(sure)], sure)
        assert not after[len(sure) :].any()
    assert 0 < kept.shape[1] < 50


def test_messages_come_through_and_a_torn_one_does_not() -> None:
    stream = io.BytesIO()
    device_runner.write_message(stream, {"a": 1}, b"body")
    device_runner.write_message(stream, {"b": 2})
    whole = stream.getvalue()
    stream.seek(0)
    assert device_runner.read_message(stream) == ({"a": 1, "bytes": 12}, b"body")
    assert device_runner.read_message(stream) == ({"b": 2, "bytes": 0}, b"")
    assert device_runner.read_message(stream) is None
    for cut in (3, 20):
        assert device_runner.read_message(io.BytesIO(whole[:cut])) is None
