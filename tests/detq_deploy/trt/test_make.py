from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from detq.errors import InputError, TargetUnavailableError
from detq.graph.files import detector_from_metadata
from detq_deploy.targets import target_named
from detq_deploy.trt import make
from detq_deploy.trt.machine import Machine
from detq_deploy.trt.make import Made, Order, audit_of, kernels_of, make_engine, request_for
from detq_deploy.trt.request import BuildAnswer, Settings
from detq_deploy.trt.side_car import check_here, check_whole, read_side_car
from tests.detq_deploy.conftest import DETECTOR
from tests.detq_deploy.trt.rtx_files import needs_rtx, refused, tiny

RTX = Settings(arch="sm86")


def order(onnx: Path, target: str = "trt-rtx", settings: Settings = RTX) -> Order:
    return Order(onnx=onnx, target=target_named(target), settings=settings)


@dataclass(frozen=True)
class Real:
    """One real build."""

    onnx: Path
    engine: Path
    made: Made
    told: list[float]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    folder = tmp_path_factory.mktemp("built")
    onnx, engine, told = tiny(folder), folder / "out" / "model.engine", list[float]()
    made = make_engine(order(onnx), engine, lambda phase, part: told.append(part))
    return Real(onnx, engine, made, told)


@needs_rtx
def test_a_real_plan_and_its_side_car_are_written(real: Real) -> None:
    car = read_side_car(real.engine)
    assert real.made.side_car == car
    check_whole(car, real.engine)
    assert car.engine_bytes == real.engine.stat().st_size > 1000
    assert car.onnx_sha256 == sha256(real.onnx.read_bytes()).hexdigest()
    assert (car.machine.product, car.machine.sm) == ("tensorrt-rtx", "sm86")
    assert car.asked == {"first": True, "pred": False}
    assert detector_from_metadata(car.metadata, "m") == DETECTOR
    images = [(x.name, x.dtype, x.shape) for x in car.inputs]
    assert images == [("images", "FLOAT", (1, 3, 8, 8))]
    names = {path.name for path in real.engine.parent.iterdir()}
    assert names == {"model.engine", "model.engine.json"}


@needs_rtx
def test_nvidias_own_progress_is_told(real: Real) -> None:
    assert len(real.told) > 3
    assert real.told == sorted(real.told)
    assert 0.5 < real.told[-1] <= 1


@needs_rtx
def test_its_layers_are_read_from_the_side_car(real: Real) -> None:
    car, audit = real.made.side_car, real.made.audit
    assert car is not None
    assert audit is not None
    int8 = {node for kernel in kernels_of(car) if kernel.int8 for node in kernel.nodes}
    assert "first" in int8
    assert "pred" not in int8
    assert audit == audit_of(car)
    assert (audit.asked_int8, audit.in_float, audit.missing) == (1, (), ())


@needs_rtx
def test_a_plan_of_a_machine_without_a_gpu_says_where_it_runs(real: Real) -> None:
    car = read_side_car(real.engine)
    here = msgspec.structs.replace(car.machine, gpu="RTX 3090", driver="580.65.06")
    assert check_here(car, here, "m.engine") == ""


@needs_rtx
def test_several_shapes_are_built_into_one_plan(tmp_path: Path) -> None:
    wanted = msgspec.structs.replace(RTX)
    several = Order(
        onnx=tiny(tmp_path, any_batch=True),
        target=target_named("trt-rtx"),
        settings=wanted,
        batches=((1, 2, 4), (8, 8, 8)),
    )
    car = make_engine(several, tmp_path / "m.engine").side_car
    assert car is not None
    assert car.inputs[0].shape == (-1, 3, 8, 8)
    assert [profile["images"].most[0] for profile in car.profiles] == [4, 8]


@needs_rtx
def test_a_refusal_has_node_and_remedy_and_leaves_nothing(tmp_path: Path) -> None:
    made = make_engine(order(refused(tmp_path)), tmp_path / "m.engine")
    assert made.side_car is None
    (finding,) = made.findings
    assert (finding.rule, finding.node) == ("nvidia-refused", "bias.dq")
    assert "Int32" in finding.what
    assert "keep biases float" in finding.remedy
    assert {path.name for path in tmp_path.iterdir()} == {"refused.onnx"}


def test_a_file_for_something_else_is_refused_before_any_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "build_apart", None)
    for note in ("plain", "trt8.5", "onnxruntime"):
        with pytest.raises(InputError, match="--target trt-rtx"):
            make_engine(order(tiny(tmp_path, note)), tmp_path / "m.engine")
    with pytest.raises(InputError, match="openvino takes ONNX files as they are"):
        make_engine(order(tiny(tmp_path), "openvino"), tmp_path / "m.engine")
    with pytest.raises(InputError, match="would overwrite what is read"):
        make_engine(order(path := tiny(tmp_path)), path)


@pytest.mark.parametrize("choice", [{"version_compatible": True}, {"hardware": "ampere"}])
def test_what_rtx_leaves_out_is_refused(tmp_path: Path, choice: dict[str, object]) -> None:
    settings = msgspec.structs.replace(RTX, **choice)
    with pytest.raises(InputError, match=r"-compatible: not with TensorRT-RTX"):
        request_for(order(tiny(tmp_path), settings=settings), tmp_path / "m.engine")


@pytest.mark.parametrize(
    ("target", "note", "text"),
    [
        ("trt10.16", "trt10.16", "--dla: trt10.16 has no DLA"),
        ("trt-rtx", "trt-rtx", "--dla: trt-rtx has no DLA"),
        ("trt10.3", "trt10.3", "DLA takes no Q/DQ with trt10.3 .*--strip"),
    ],
)
def test_dla_is_for_targets_that_reach_it(
    tmp_path: Path, target: str, note: str, text: str
) -> None:
    wanted = order(tiny(tmp_path, note), target, Settings(dla_core=0))
    with pytest.raises(InputError, match=text):
        request_for(wanted, tmp_path / "m.engine")


def test_dla_of_11_4_takes_q_dq(tmp_path: Path) -> None:
    wanted = order(tiny(tmp_path, "trt11.4"), "trt11.4", Settings(dla_core=0))
    request, _ = request_for(wanted, tmp_path / "m.engine")
    assert request.settings.dla_core == 0


def test_a_truncated_onnx_file_is_told(tmp_path: Path) -> None:
    onnx = tiny(tmp_path)
    onnx.write_bytes(onnx.read_bytes()[:-100])
    with pytest.raises(InputError, match="is not an ONNX file"):
        make_engine(order(onnx), tmp_path / "m.engine")


def test_without_tensorrt_the_way_to_it_is_told(tmp_path: Path) -> None:
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        weak = Settings(typing="weak")
        onnx = tiny(tmp_path, "trt8.6")
        with pytest.raises(TargetUnavailableError, match="TensorRT is not installed"):
            make_engine(order(onnx, "trt8.6", weak), tmp_path / "m.engine")
        return
    pytest.skip("TensorRT is installed here")


def test_options_reach_the_builder(tmp_path: Path) -> None:
    cache = tmp_path / "m.cache"
    cache.write_text("TRT-8600-EntropyCalibration2\n")
    asked = Order(
        onnx=tiny(tmp_path, "", quantized=False),
        target=target_named("jetpack6.0"),
        settings=Settings(typing="weak", dla_core=0),
        timing_cache=tmp_path / "kept",
        calibration_cache=cache,
    )
    request, cautions = request_for(asked, tmp_path / "m.engine")
    assert cautions == ()
    assert (request.product, request.targets) == ("tensorrt", ("trt8.6",))
    assert request.timing_cache == str(tmp_path / "kept")
    assert request.calibration_cache == str(cache)
    cache.unlink()
    with pytest.raises(InputError, match=r"m.cache: no such file \(detq export --strip\)"):
        request_for(asked, tmp_path / "m.engine")


def test_layers_that_tensorrt_did_not_tell_are_none() -> None:
    answer = BuildAnswer(machine=Machine(product="tensorrt", tensorrt="10.3.0"))
    assert kernels_of(answer) == ()
    named = msgspec.structs.replace(answer, layers='{"Layers": ["conv"]}', layers_form="inspector")
    assert [kernel.name for kernel in kernels_of(named)] == ["conv"]


def test_builds_of_tensorrt_may_take_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float | None] = []

    def build(request: object, tell: object, *, longest: float | None) -> BuildAnswer:
        seen.append(longest)
        return BuildAnswer(machine=Machine(product="tensorrt", tensorrt="1"), refusals=())

    monkeypatch.setattr(make, "build_apart", build)
    monkeypatch.setattr(make, "write_side_car", lambda car, engine: None)
    make_engine(order(tiny(tmp_path)), tmp_path / "m.engine")
    weak = Settings(typing="weak")
    make_engine(order(tiny(tmp_path, "trt8.6"), "trt8.6", weak), tmp_path / "m.engine")
    assert seen == [make.LONGEST, None]
