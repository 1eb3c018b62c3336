import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from detq.detection import Detector
from detq.errors import DetqError, InputError, TargetError, TargetUnavailableError
from detq.graph.build import Builder
from detq.graph.files import save_model
from detq_deploy.backends import BACKENDS, open_runner
from detq_deploy.cpu import cpu_features

ENGINES = ["onnxruntime", "openvino"]
WriteChain = Callable[..., Path]


def images(batch: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((batch, 3, 16, 16), np.float32)


def by_definition(path: Path, x: np.ndarray) -> np.ndarray:
    model = onnx.load(path)
    # ONNX's own evaluator begins with this version; these operators mean the same in both.
    model.opset_import[0].version = 19
    return np.asarray(ReferenceEvaluator(model).run(None, {"images": x})[0])


OF_ONNX = sorted(set(BACKENDS) - {"tensorrt"})


@pytest.fixture(params=OF_ONNX)
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "torch":
        pytest.importorskip("torch", reason="torch is not installed")
    return str(request.param)


def test_a_runner_keeps_the_contract(backend: str, float_file: Path, detector: Detector) -> None:
    x = images()
    expected = by_definition(float_file, x)
    with open_runner(backend, float_file, threads=1) as run:
        assert any(letter.isdigit() for letter in run.name)
        assert (run.detector, run.batch) == (detector, 1)
        outputs = run(x)
    assert list(outputs) == ["outputs"]
    # bfloat16 would be off by 4e-3 of values around 1.
    np.testing.assert_allclose(outputs["outputs"], expected, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(x, images())


def test_outputs_belong_to_the_caller(backend: str, float_file: Path) -> None:
    with open_runner(backend, float_file, threads=1) as run:
        first = run(images(seed=1))["outputs"]
        kept = first.copy()
        second = run(images(seed=2))["outputs"]
        assert not np.array_equal(first, second)
        np.testing.assert_array_equal(first, kept)
        first[:] = 0
        np.testing.assert_array_equal(run(images(seed=2))["outputs"], second)


@pytest.mark.parametrize("engine", ENGINES)
def test_any_batch_and_layout(engine: str, write_chain: WriteChain) -> None:
    x = images(3)
    with open_runner(engine, write_chain(batch="B"), threads=1) as run:
        assert run.batch is None
        together = run(x.transpose(0, 1, 3, 2))["outputs"]
        apart = [run(image.transpose(0, 2, 1)[None].astype(np.float64))["outputs"] for image in x]
    np.testing.assert_allclose(together, np.concatenate(apart), rtol=0, atol=1e-6)


def test_unoptimized_onnxruntime_follows_the_definition(qdq_file: Path) -> None:
    expected = by_definition(qdq_file, images())
    with open_runner("onnxruntime", qdq_file, threads=1, optimize=False) as run:
        found = run(images())["outputs"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_foreign_file_runs_but_has_no_detector(engine: str, write_chain: WriteChain) -> None:
    with open_runner(engine, write_chain()) as run:
        assert run(images())["outputs"].shape == (1, 8, 16, 16)
        with pytest.raises(InputError, match="does not say what it detects"):
            _ = run.detector


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shape", [(1, 3, 16, 24), (2, 3, 16, 16), (3, 16, 16)])
def test_images_of_another_shape(engine: str, shape: tuple[int, ...], float_file: Path) -> None:
    with (
        open_runner(engine, float_file, threads=1) as run,
        pytest.raises(InputError, match="takes images of 1 x 3 x 16 x 16, was given") as caught,
    ):
        run(np.zeros(shape, np.float32))
    assert_one_line(caught.value, str(float_file))


def test_a_missing_file(backend: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_runner(backend, tmp_path / "none.onnx")


@pytest.mark.parametrize("content", [b"hello world", b"\x08", b""], ids=["text", "cut", "empty"])
def test_a_corrupt_file(
    backend: str, content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(DetqError) as caught:
        open_runner(backend, path)
    assert_one_line(caught.value, str(path))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("engine", ENGINES)
def test_an_operator_that_the_engine_does_not_know(
    engine: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    b = Builder("odd")
    x = b.input("images", (1, 3, 16, 16))
    path = tmp_path / "odd.onnx"
    save_model(b.finish({"outputs": b.op("Frobnicate", x, shape=(1, 3, 16, 16))}), path)
    with pytest.raises(TargetError, match=r"refuses the model: .*Frobnicate") as caught:
        open_runner(engine, path)
    assert_one_line(caught.value, str(path))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_that_fails_while_running(
    engine: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if engine == "openvino" and cpu_features().usable_cores < 2:
        pytest.skip("with one thread OpenVINO does not report this")
    b = Builder("beside three planes")
    x = b.input("images", (1, 3, "H", 16))
    three = b.constant("three", np.ones((1, 3, 16, 16), np.float32))
    path = tmp_path / "rows.onnx"
    save_model(b.finish({"outputs": b.op("Concat", x, three, axis=1, shape=(1, 6, "H", 16))}), path)
    with open_runner(engine, path, threads=2) as run:
        assert run(images())["outputs"].shape == (1, 6, 16, 16)
        with pytest.raises(TargetError, match="failed: ") as caught:
            run(np.zeros((1, 3, 17, 16), np.float32))
    assert_one_line(caught.value, str(path))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_with_two_inputs(engine: str, tmp_path: Path) -> None:
    b = Builder("two")
    x, y = b.input("images", (1, 3, 16, 16)), b.input("more", (1, 3, 16, 16))
    path = tmp_path / "two.onnx"
    save_model(b.finish({"outputs": b.op("Add", x, y, shape=(1, 3, 16, 16))}), path)
    with pytest.raises(InputError, match="has 2 inputs"):
        open_runner(engine, path)


def test_an_unknown_backend(float_file: Path) -> None:
    with pytest.raises(TargetError, match="one of torch, onnxruntime, openvino"):
        open_runner("tflite", float_file)


def test_no_threads(float_file: Path) -> None:
    with pytest.raises(InputError, match="0 threads"):
        open_runner("openvino", float_file, threads=0)


def test_openvino_always_optimizes(float_file: Path) -> None:
    with pytest.raises(InputError, match="without its optimizations"):
        open_runner("openvino", float_file, optimize=False)


@pytest.mark.parametrize("name", OF_ONNX)
def test_a_package_that_is_not_installed(
    name: str, float_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TargetUnavailableError, match=f"is not installed .pip install {name}"):
        open_runner(name, float_file)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_package", r"needs the package no_such_package \(pip install no_such"),
        ("raise ImportError('libx.so.1:\\n no such file')", "does not load: libx.so.1: no such"),
    ],
)
def test_a_package_that_does_not_load(
    source: str, message: str, float_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openvino.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    with pytest.raises(TargetUnavailableError, match=message):
        open_runner("openvino", float_file)


def assert_one_line(error: DetqError, path: str) -> None:
    assert "\n" not in str(error)
    assert path in str(error)
    assert len(str(error)) < 400 + len(path)
