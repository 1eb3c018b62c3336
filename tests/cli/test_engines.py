"""The same commands on ``.engine`` as on ``.onnx``.

The engine is a double of TensorRT 10.3's bindings whose kernels are ONNX Runtime's, on memory of
the host: what is tested is that a command takes one file as it takes the other. No GPU took part.
"""

import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from detq.errors import InputError
from detq.graph.files import load_model
from detq.run_dir import file_hash
from detq_deploy import bench_worker
from detq_deploy.backends import backend_of, open_runner, pairs_of
from detq_deploy.bench_messages import (
    Burst,
    Inspect,
    Inspected,
    Open,
    Ready,
    Reply,
    Timed,
    receive,
    send,
)
from detq_deploy.trt import device, libcudart, machine
from detq_deploy.trt.driver import Driver, Gpu
from detq_deploy.trt.machine import Machine
from detq_deploy.trt.side_car import SideCar, write_side_car
from tests.cli.calls import Detq, Tiny
from tests.detq_deploy.trt.contract.double import double_of
from tests.detq_deploy.trt.contract.versions import VERSIONS
from tests.detq_deploy.trt.engine_double import EngineDouble
from tests.detq_deploy.trt.host_cuda.library import HostGpu, compiled

ORIN = Gpu(0, "Orin", "sm87", 7620)
LAYERS = Path(__file__).parents[1] / "detq_deploy" / "nvidia" / "inspector" / "trt10.json"


@pytest.fixture
def engine(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``float.onnx`` as an engine, with its side-car."""
    version = next(v for v in VERSIONS if v.version == "10.3.0")
    if version.missing:
        pytest.skip(version.missing)
    double = double_of(version)
    gpu = HostGpu(compiled(tmp_path))
    monkeypatch.setitem(sys.modules, "tensorrt", double.module)
    monkeypatch.setattr(libcudart, "SONAMES", (gpu.path,))
    monkeypatch.setattr(device, "REACHES", ("libcudart",))
    monkeypatch.setattr(machine, "require_gpu", lambda: (Driver("540.4.0", "12.6", (ORIN,)), ORIN))
    onnx = tiny.model("float")
    model = load_model(onnx)
    runner = open_runner("onnxruntime", onnx, threads=1)
    sample = runner(np.zeros((1, 3, 64, 96), np.float32))

    def compute(images: np.ndarray) -> Mapping[str, np.ndarray]:
        return runner(images)

    EngineDouble(
        double,
        gpu,
        shape=(-1, 3, 64, 96),
        profiles=[((1, 3, 64, 96), (4, 3, 64, 96))],
        outputs={name: (-1, *array.shape[1:]) for name, array in sample.items()},
        compute=compute,
    )
    path = tmp_path / "float.engine"
    path.write_bytes(b"a plan")
    built = Machine(product="tensorrt", tensorrt="10.3.0", gpu="Orin", sm="sm87")
    side_car = SideCar(
        onnx=onnx.name,
        onnx_sha256=file_hash(onnx),
        engine_sha256=file_hash(path),
        engine_bytes=6,
        machine=built,
        metadata=dict(model.metadata_props),
        asked={"stem.conv": True, "mid.conv": True, "up.upsample": True},
        layers=LAYERS.read_text(),
        layers_form="inspector",
        flags=("FP16", "INT8"),
    )
    write_side_car(side_car, path)
    return path


def test_eval_gives_the_same_figures_without_torch(
    detq: Detq, tiny: Tiny, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--data", tiny.data.yolo, "--json"]
    theirs = json.loads(detq("eval", tiny.model("float"), *words).done().out)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    ours = json.loads(detq("eval", engine, *words).done().out)
    assert ours["engine"] == "TensorRT 10.3.0 on Orin (sm87)"
    assert ours["isa"] == "sm87"
    assert ours["protocol"].endswith("COCO bbox on TensorRT 10.3.0 on Orin (sm87)")
    differ = {"engine", "file", "isa", "protocol", "seconds", "images_per_second"}
    assert {k: v for k, v in ours.items() if k not in differ} == {
        k: v for k, v in theirs.items() if k not in differ
    }


def test_compare_and_predict(detq: Detq, tiny: Tiny, engine: Path, tmp_path: Path) -> None:
    words = [tiny.model("float"), engine, "--data", tiny.data.yolo, "--count", 2, "--json"]
    first, second = json.loads(detq("compare", *words).done().out)
    assert (first["backend"], second["backend"]) == ("onnxruntime", "tensorrt")
    assert second["errors"][0]["largest"] == 0
    assert second["accuracy"]["AP"] == first["accuracy"]["AP"]
    seen = tmp_path / "seen"
    detq("predict", engine, tiny.data.train, "--output", seen).done()
    assert (seen / "detections.json").is_file()


def test_inspect(detq: Detq, engine: Path) -> None:
    found = json.loads(detq("inspect", engine, "--json").done().out)
    assert (found["engine"], found["onnx"]) == ("TensorRT 10.3.0 on Orin (sm87)", "float.onnx")
    assert found["audit"]["in_float"] == ["up.upsample"]
    text = detq("inspect", engine).done().out
    assert "built from float.onnx; flags: FP16, INT8" in text
    assert "3 layers asked to be INT8 by float.engine.json, 1 of them run otherwise" in text
    assert "warning engine-float: asked to be INT8, runs in float" in text


def test_lists_of_layers(detq: Detq, tmp_path: Path) -> None:
    folder = LAYERS.parent
    words = ["inspect", folder / "trt8.5.json", "--times", folder / "profile10.json"]
    text = detq(*words).done().out
    assert "Int8 CHW32" in text and "Half HWC8" in text and "Float linear" in text
    assert "4.050 ms in all layers, 20% between those with weights" in text
    assert "name the Q/DQ file with --onnx" in text
    (tmp_path / "odd.json").write_text("[1]")
    detq("inspect", tmp_path / "odd.json").refused("odd.json: holds neither the layers nor")
    detq("inspect", tmp_path / "no.json").refused("no.json: cannot be read")


def test_what_a_backend_does_not_read(detq: Detq, tiny: Tiny, engine: Path) -> None:
    words = ["--data", tiny.data.yolo]
    onnx = tiny.model("float")
    detq("eval", onnx, "--backend", "tensorrt", *words).refused(f"detq build {onnx}")
    refused = detq("eval", engine, "--backend", "openvino", *words)
    refused.refused("float.engine: is a TensorRT engine by its name")
    detq("eval", onnx, "--contract", onnx, *words).refused("says itself what it detects")
    detq("bench", onnx, "--cuda-graph").refused("only TensorRT has CUDA graphs")


def test_an_engine_without_a_side_car(detq: Detq, tiny: Tiny, engine: Path) -> None:
    engine.with_name("float.engine.json").unlink()
    words = ["eval", engine, "--data", tiny.data.yolo]
    detq(*words).refused("does not say what it detects", "--contract")
    detq(*words, "--contract", tiny.model("float"), "--json").done()


def test_the_backend_is_chosen_by_the_suffix() -> None:
    onnx, plan = Path("a.onnx"), Path("b.engine")
    assert (backend_of(onnx), backend_of(plan)) == ("onnxruntime", "tensorrt")
    assert backend_of(onnx, "torch") == "torch"
    assert pairs_of([onnx, plan], []) == [(onnx, "onnxruntime"), (plan, "tensorrt")]
    assert pairs_of([onnx, plan], ["openvino", "torch"]) == [
        (onnx, "openvino"), (onnx, "torch"), (plan, "tensorrt"),
    ]  # fmt: skip
    both = [(onnx, "openvino"), (plan, "tensorrt")]
    assert pairs_of([onnx, plan], ["openvino", "tensorrt"]) == both
    with pytest.raises(InputError, match="is an ONNX file, TensorRT runs engines"):
        pairs_of([onnx, plan], ["tensorrt"])


@pytest.mark.parametrize("graph", [False, True])
def test_bench_reads_the_clock_of_the_gpu(engine: Path, graph: bool, tiny: Tiny) -> None:
    """The worker's own loop, in this process: the double is not in another."""
    order = Open(
        backend="tensorrt", path=str(engine), threads=1, batch=2, size=None, images=None,
        warmup_ms=1, cuda_graph=graph, step="detq.cli.end_to_end:pictures_to_boxes",
        pictures=str(tiny.data.val),
    )  # fmt: skip
    requests, replies = io.BytesIO(), io.BytesIO()
    for message in (order, Burst(ms=0, runs=3), Inspect()):
        send(requests, message)
    requests.seek(0)
    bench_worker._serve(requests, replies)
    replies.seek(0)
    ready, timed, inspected = (receive(replies, Reply) for _ in range(3))
    assert ready == Ready(engine="TensorRT 10.3.0 on Orin (sm87)", batch=2, size=(64, 96))
    assert isinstance(timed, Timed)
    # The kernel and the mark behind it, as host_cuda counts, for two images.
    assert timed.gpu_ms == [0.25] * 3
    assert len(timed.wall_ms) == 3
    assert isinstance(inspected, Inspected) and inspected.layers is not None
    assert (inspected.layers.int8, inspected.layers.convolutions) == (2, 4)
