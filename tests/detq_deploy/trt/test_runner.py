"""The runner against the surface of every version's bindings; no GPU has taken part.

The engine is a double that triples its images, the memory is ``host_cuda``'s: what is real are our
calls, their order, and that nothing is called which a version does not have.
"""

import gc
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detq.detection import Detector
from detq.errors import InputError, TargetError, TargetUnavailableError
from detq.graph.files import detector_metadata
from detq.run_dir import file_hash
from detq_deploy.trt import libcudart, machine
from detq_deploy.trt.driver import Driver, Gpu
from detq_deploy.trt.load import Product
from detq_deploy.trt.machine import Machine
from detq_deploy.trt.request import Settings
from detq_deploy.trt.runner import TensorRtRunner
from detq_deploy.trt.side_car import SideCar, write_side_car
from tests.detq_deploy.trt.contract.double import Double
from tests.detq_deploy.trt.engine_double import EngineDouble
from tests.detq_deploy.trt.host_cuda.library import HostGpu, compiled

PLAN = b"a plan, as far as the double is concerned"
ORIN = Gpu(0, "Orin", "sm87", 7620)


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HostGpu:
    found = HostGpu(compiled(tmp_path))
    monkeypatch.setattr(libcudart, "SONAMES", (found.path,))
    monkeypatch.setattr(machine, "require_gpu", lambda: (Driver("540.4.0", "12.6", (ORIN,)), ORIN))
    return found


@pytest.fixture
def product(double: Double, monkeypatch: pytest.MonkeyPatch) -> Product:
    """Puts TensorRT-RTX, which has a name of its own, where it is looked for."""
    if not double.version.version.startswith("1."):
        return "tensorrt"
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", double.module)
    return "tensorrt-rtx"


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "model.engine"
    path.write_bytes(PLAN)
    return path


Beside = Callable[..., SideCar]


@pytest.fixture
def side_car(engine: Path, double: Double, product: Product, detector: Detector) -> Beside:
    """Writes the side-car of an engine that was built here, or as said."""

    def write(settings: Settings | None = None, **built: Any) -> SideCar:
        machine_of = {
            "product": product, "tensorrt": str(double.module.__version__), "gpu": "Orin",
            "sm": "sm87", **built,
        }  # fmt: skip
        found = SideCar(
            onnx="model.onnx",
            onnx_sha256="",
            engine_sha256=file_hash(engine),
            engine_bytes=len(PLAN),
            machine=Machine(**machine_of),
            settings=settings or Settings(),
            metadata=detector_metadata(detector),
        )
        write_side_car(found, engine)
        return found

    return write


def images(batch: int = 1, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((batch, 3, size, size), np.float32)


def opened(path: Path, **options: Any) -> TensorRtRunner:
    return TensorRtRunner(path, reach="libcudart", **options)


def test_it_keeps_the_contract_of_a_runner(
    double: Double, gpu: HostGpu, engine: Path, side_car: Beside, detector: Detector
) -> None:
    side_car()
    fake = EngineDouble(double, gpu)
    with opened(engine) as run:
        assert run.name.endswith(f"{double.module.__version__} on Orin (sm87)")
        assert (run.detector, run.batch, run.caution) == (detector, 1, "")
        x = images()
        first = run(x)
        assert list(first) == ["outputs"]
        kept = first["outputs"].copy()
        np.testing.assert_allclose(kept, x * 3, rtol=1e-6)
        second = run(images(seed=1))
        np.testing.assert_array_equal(first["outputs"], kept)  # the caller's to keep
        np.testing.assert_allclose(second["outputs"], images(seed=1) * 3, rtol=1e-6)
        assert run.gpu_ms == 0.5  # the kernel and the mark behind it, as host_cuda counts
    assert (fake.runs, gpu.left) == (2, 0)
    (stream,) = set(double.values("IExecutionContext.execute_async_v3"))
    assert stream != 0
    order = [call.name for call in double.calls]
    plugins = "init_libnvinfer_plugins"
    assert order.index(plugins) < order.index("Runtime.deserialize_cuda_engine")
    assert double.values("Runtime.deserialize_cuda_engine") == [PLAN]


def test_leaving_frees_the_engine(
    double: Double, gpu: HostGpu, engine: Path, side_car: Beside
) -> None:
    side_car()
    EngineDouble(double, gpu)
    made: list[weakref.ref[Any]] = []

    def create(engine: Any) -> Any:
        context = double.make("IExecutionContext")
        made.append(weakref.ref(context))
        return context

    double.answers["ICudaEngine.create_execution_context"] = create
    with opened(engine, cuda_graph=True) as run:
        run(images())
        assert made[0]() is not None
    gc.collect()
    assert made[0]() is None
    assert run.batch == 1  # what was read of the file stays known


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_types_of_the_input(
    dtype: str, double: Double, gpu: HostGpu, engine: Path, side_car: Beside
) -> None:
    side_car()
    shape = (1, 8, 8, 3) if dtype == "uint8" else (1, 3, 8, 8)
    EngineDouble(double, gpu, dtype=dtype, shape=shape)
    x = np.full(shape, 50, np.uint8) if dtype == "uint8" else images()
    with opened(engine) as run:
        found = run(x)["outputs"]
    assert found.dtype == (np.uint8 if dtype == "uint8" else np.float32)
    np.testing.assert_allclose(found, x.astype(np.float64) * 3, rtol=2e-3)  # half: 11 bits


def test_shapes_of_the_profiles(
    double: Double, gpu: HostGpu, engine: Path, side_car: Beside
) -> None:
    side_car()
    small, large = (1, 3, 8, 8), (4, 3, 8, 8)
    EngineDouble(double, gpu, shape=(-1, 3, 8, 8), profiles=[(small, small), ((2, 3, 8, 8), large)])
    with opened(engine) as run:
        assert run.batch is None
        for batch in (1, 4, 4, 2, 1):
            x = images(batch)
            np.testing.assert_allclose(run(x)["outputs"], x * 3, rtol=1e-6)
        profiles = double.values("IExecutionContext.set_optimization_profile_async")
        assert profiles == [1, 0]
        message = "takes images of 1 x 3 x 8 x 8 to .* or 2 x 3 x 8 x 8 to 4 x 3 x 8 x 8, was given"
        with pytest.raises(InputError, match=message):
            run(images(5))
        assert run(images(1))["outputs"].shape == (1, 3, 8, 8)
    assert gpu.left == 0


def test_an_output_whose_shape_is_computed(
    double: Double, gpu: HostGpu, engine: Path, side_car: Beside
) -> None:
    side_car()
    EngineDouble(
        double, gpu, shape=(-1, 3, 8, 8), profiles=[((1, 3, 8, 8), (4, 3, 8, 8))], counted=True
    )
    with opened(engine, cuda_graph=True) as run:
        for bright in ([], [1, 3], [0, 1, 2, 3], [2]):
            x = np.zeros((4, 3, 8, 8), np.float32)
            x[bright] = 1
            found = run(x)
            assert found["count"].tolist() == bright
            np.testing.assert_array_equal(found["outputs"], x * 3)
    assert gpu.left == 0


def test_too_little_memory_for_such_an_output(
    double: Double, gpu: HostGpu, engine: Path, side_car: Beside
) -> None:
    side_car()
    EngineDouble(double, gpu, counted=True)
    with opened(engine) as run:
        gpu.room(2 * 3 * 8 * 8 * 4 + 2)
        with pytest.raises(TargetError, match="on the GPU, 0 of 0 MiB are free: out of memory"):
            run(np.ones((1, 3, 8, 8), np.float32))


def test_a_graph_is_replayed(double: Double, gpu: HostGpu, engine: Path, side_car: Beside) -> None:
    side_car()
    fake = EngineDouble(double, gpu, shape=(-1, 3, 8, 8), profiles=[((1, 3, 8, 8), (2, 3, 8, 8))])
    with opened(engine, cuda_graph=True) as run:
        for batch in (1, 1, 1, 2, 2):
            x = images(batch, seed=batch)
            np.testing.assert_allclose(run(x)["outputs"], x * 3, rtol=1e-6)
    # Once by itself and once into the graph, for each shape.
    assert len(double.values("IExecutionContext.execute_async_v3")) == 4
    assert (fake.runs, gpu.left) == (5, 0)


def test_layers_are_timed_and_told(
    double: Double, gpu: HostGpu, engine: Path, side_car: Beside
) -> None:
    side_car()
    fake = EngineDouble(double, gpu)
    inspector = double.make("EngineInspector")
    double.answers["ICudaEngine.create_engine_inspector"] = inspector
    double.answers["EngineInspector.get_engine_information"] = '{"Layers": []}'
    before = fake._enqueue

    def enqueue(context: Any, stream: int) -> bool:
        profilers = double.values("IExecutionContext.profiler=")
        for ms in (0.25, 0.5) if profilers else ():
            profilers[-1].report_layer_time("conv", ms)
        return before(context, stream)

    double.answers["IExecutionContext.execute_async_v3"] = enqueue
    with opened(engine, cuda_graph=True) as run:
        assert run.layer_times(images(), runs=2) == {"conv": [0.25, 0.5, 0.25, 0.5]}
        assert run.layer_information() == '{"Layers": []}'


def test_what_the_engine_was_built_for(
    double: Double, gpu: HostGpu, engine: Path, side_car: Beside
) -> None:
    EngineDouble(double, gpu)
    for built, message in (
        ({"tensorrt": "9.9.9"}, "is of another version: built with TensorRT.* 9.9.9 on Orin"),
        ({"sm": "sm72", "gpu": "Xavier"}, "is for another GPU: built with .* on Xavier"),
    ):
        side_car(**built)
        with pytest.raises(TargetError, match=message) as caught:
            opened(engine)
        assert "here is TensorRT" in str(caught.value)
    assert double.calls == []  # TensorRT was not asked
    side_car(gpu="Orin NX")
    with opened(engine) as run:
        assert "its speed may differ" in run.caution


def test_a_truncated_engine(double: Double, gpu: HostGpu, engine: Path, side_car: Beside) -> None:
    side_car()
    engine.write_bytes(PLAN[:-4])
    with pytest.raises(InputError, match="has 37 bytes, not the 41 that were built"):
        opened(engine)
    assert double.calls == []


def test_an_engine_of_ultralytics_does_not_reach_tensorrt(
    double: Double, gpu: HostGpu, engine: Path, side_car: Beside
) -> None:
    side_car()
    engine.write_bytes((2).to_bytes(4, "little") + b"{}" + PLAN)
    with pytest.raises(InputError, match="an engine of Ultralytics with a JSON header"):
        opened(engine)
    assert double.calls == []


def test_settings_that_the_runtime_needs(
    double: Double, gpu: HostGpu, engine: Path, side_car: Beside
) -> None:
    EngineDouble(double, gpu)
    side_car(Settings(version_compatible=True, dla_core=1))
    with opened(engine):
        pass
    assert double.values("Runtime.DLA_core=") == [1]
    assert double.values("Runtime.engine_host_code_allowed=") == [True]


def test_an_engine_of_trtexec(
    double: Double,
    gpu: HostGpu,
    engine: Path,
    product: Product,
    float_file: Path,
    detector: Detector,
) -> None:
    if product == "tensorrt-rtx":
        pytest.skip("only a side-car tells an engine of TensorRT-RTX")
    EngineDouble(double, gpu)
    with opened(engine) as run:
        assert run(images())["outputs"].shape == (1, 3, 8, 8)
        with pytest.raises(InputError, match="no side-car beside the engine") as caught:
            _ = run.detector
        assert "--contract" in caught.value.hint
    with opened(engine, contract=float_file) as run:
        assert run.detector == detector


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("Magic tag does not match", "does not take the engine: Magic tag does not match"),
        ("", "does not take the engine, without a reason; the file may be cut off"),
        ("Cuda failure: out of memory", "has too little memory for the engine: Cuda failure"),
    ],
)
def test_a_refusal_of_tensorrt(
    said: str, message: str, double: Double, gpu: HostGpu, engine: Path, side_car: Beside
) -> None:
    side_car()
    severity = double.module.ILogger.Severity

    def refuse(runtime: Any, plan: bytes) -> None:
        if said:
            double.called("Runtime")[-1].args[0].log(severity.ERROR, said)

    double.answers["Runtime.deserialize_cuda_engine"] = refuse
    with pytest.raises(TargetError, match=message):
        opened(engine)


def test_a_run_that_fails(double: Double, gpu: HostGpu, engine: Path, side_car: Beside) -> None:
    side_car()
    fake = EngineDouble(double, gpu)
    with opened(engine) as run:
        fake.refuses = True
        with pytest.raises(TargetError, match="does not run"):
            run(images())


@pytest.mark.usefixtures("double")
def test_a_machine_without_a_gpu(
    engine: Path, product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    if product == "tensorrt-rtx":
        pytest.skip("only a side-car tells an engine of TensorRT-RTX")
    monkeypatch.setattr("detq_deploy.trt.driver.probe_driver", lambda libraries: None)
    with pytest.raises(TargetUnavailableError, match="no NVIDIA driver"):
        opened(engine)
