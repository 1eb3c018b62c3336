from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from detq.errors import TargetError
from detq_deploy.backends import BACKENDS, Settings
from detq_deploy.onnxruntime_run import OnnxRuntimeRunner
from detq_deploy.targets import target_named
from detq_deploy.trt import request
from detq_deploy.trt.make import Made, Order, make_engine
from detq_deploy.trt.verify import compared_with_reference, compared_with_sister
from tests.detq_deploy.trt.rtx_files import needs_rtx, refused, tiny

RTX = request.Settings(arch="sm86")


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> dict[Path, Path]:
    """Engine → the ONNX file that ONNX Runtime runs in its place: there is no GPU here."""
    found: dict[Path, Path] = {}

    def open_(path: Path, settings: Settings) -> OnnxRuntimeRunner:
        if path not in found:
            raise TargetError("there is no NVIDIA driver here")
        return OnnxRuntimeRunner(found[path], threads=1)

    monkeypatch.setitem(BACKENDS, "tensorrt", open_)
    return found


def test_an_engine_is_compared_with_its_file(engines: dict[Path, Path], tmp_path: Path) -> None:
    engine = tmp_path / "m.engine"
    engines[engine] = onnx = tiny(tmp_path)
    warnings: list[str] = []
    gaps, findings = compared_with_reference(onnx, engine, warnings.append)
    assert (findings, warnings) == ((), [])
    assert [gap.output for gap in gaps] == ["outputs: boxes", "outputs: scores"]


def test_another_network_is_found_out(engines: dict[Path, Path], tmp_path: Path) -> None:
    engine = tmp_path / "m.engine"
    engines[engine] = tiny(tmp_path, quantized=False)
    _, findings = compared_with_reference(tiny(tmp_path), engine, pytest.fail)
    assert {finding.rule for finding in findings} == {"engine-differs"}
    assert {finding.severity for finding in findings} == {"error"}


def test_what_cannot_run_is_told_and_no_error(engines: dict[Path, Path], tmp_path: Path) -> None:
    warnings: list[str] = []
    found = compared_with_reference(tiny(tmp_path), tmp_path / "m.engine", warnings.append)
    assert found == ((), ())
    assert warnings == [
        "the engine was not compared with its ONNX file: there is no NVIDIA driver here"
    ]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Order, Made, Path]:
    folder = tmp_path_factory.mktemp("built")
    order = Order(onnx=tiny(folder), target=target_named("trt-rtx"), settings=RTX)
    return order, make_engine(order, folder / "m.engine"), folder / "m.engine"


@needs_rtx
def test_the_sister_is_built_in_the_same_way_and_timed(
    built: tuple[Order, Made, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, made, engine = built
    opened: list[str] = []

    def open_(path: Path, settings: Settings) -> OnnxRuntimeRunner:
        opened.append(path.name)
        assert path.stat().st_size > 1000
        return OnnxRuntimeRunner(order.onnx, threads=1)

    monkeypatch.setitem(BACKENDS, "tensorrt", open_)
    beside = tiny(tmp_path, "float16", quantized=False)
    sister, findings = compared_with_sister(order, made, engine, beside, told_nothing, run=True)
    assert opened == ["m.engine", "float16.engine"]
    assert made.side_car is not None
    assert sister.int8_bytes == made.side_car.engine_bytes
    assert sister.ms is not None
    assert sister.int8_ms is not None
    assert min(sister.ms, sister.int8_ms) > 0
    larger = sister.int8_bytes > sister.plan_bytes > 1000
    assert ("int8-larger" in {finding.rule for finding in findings}) == larger
    sizes = f"{sister.int8_bytes / 1e6:.1f} MB, float16 {sister.plan_bytes / 1e6:.1f} MB"
    assert f"{sizes}; {sister.int8_ms:.3f} ms, float16 {sister.ms:.3f} ms" in sister.text
    assert not list(tmp_path.glob("*.engine*"))


@needs_rtx
def test_a_sister_that_is_refused_is_told(built: tuple[Order, Made, Path], tmp_path: Path) -> None:
    order, made, engine = built
    beside = refused(tmp_path)
    sister, findings = compared_with_sister(order, made, engine, beside, told_nothing, run=False)
    assert [finding.node for finding in findings] == ["bias.dq"]
    assert (sister.ms, sister.int8_ms) == (None, None)


def told_nothing(phase: str, part: float) -> None: ...
