from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from detq.errors import InputError, TargetError
from detq_deploy.trt.machine import Machine
from detq_deploy.trt.request import Binding, BuildAnswer, BuildRequest, Settings, Shapes
from detq_deploy.trt.side_car import (
    SideCar,
    check_here,
    read_engine,
    read_side_car,
    side_car_of,
    side_car_path,
    write_side_car,
)

ORIN = Machine(
    product="tensorrt",
    tensorrt="10.3.0",
    gpu="Orin",
    sm="sm87",
    driver="540.3.0",
    cuda="12.6",
    memory_mib=30_000,
    platform="Linux aarch64",
)
PLAN = b"a plan of TensorRT"


def changed(machine: Machine, **values: object) -> Machine:
    return msgspec.structs.replace(machine, **values)


def side_car(machine: Machine = ORIN, **settings: object) -> SideCar:
    return SideCar(
        onnx="model.onnx",
        onnx_sha256="0" * 64,
        engine_sha256=sha256(PLAN).hexdigest(),
        engine_bytes=len(PLAN),
        machine=machine,
        settings=msgspec.convert(settings, Settings),
    )


def written(folder: Path, found: SideCar) -> Path:
    engine = folder / "model.engine"
    engine.write_bytes(PLAN)
    write_side_car(found, engine)
    return engine


def test_it_stands_beside_the_engine_and_reads_back(tmp_path: Path) -> None:
    onnx = tmp_path / "model.onnx"
    onnx.write_bytes(b"onnx")
    request = BuildRequest(
        onnx=str(onnx),
        settings=Settings(workspace_mib=64),
        profiles=({"images": Shapes(least=(1, 3), usual=(4, 3), most=(8, 3))},),
    )
    answer = BuildAnswer(
        machine=ORIN,
        plan_bytes=len(PLAN),
        plan_sha256=sha256(PLAN).hexdigest(),
        seconds=3.5,
        flags=("FP16",),
        inputs=(Binding(name="images", dtype="FLOAT", shape=(-1, 3)),),
        layers="{}",
        layers_form="inspector",
    )
    made = side_car_of(request, answer, {"detq.detector": "{}"}, {"conv": True})
    engine = written(tmp_path, made)
    assert side_car_path(engine).name == "model.engine.json"
    assert read_side_car(engine) == made
    assert made.onnx == "model.onnx"
    assert made.onnx_sha256 == sha256(b"onnx").hexdigest()
    assert made.profiles[0]["images"].usual == (4, 3)
    assert read_engine(engine, ORIN) == (PLAN, made, "")


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (changed(ORIN, tensorrt="10.7.0"), ("another version", "TensorRT 10.3.0", "10.7.0")),
        (changed(ORIN, tensorrt="10.2.0"), ("another version", "TensorRT 10.3.0", "10.2.0")),
        (changed(ORIN, sm="sm110", gpu="Thor"), ("another GPU", "Orin (sm87)", "Thor (sm110)")),
        (changed(ORIN, platform="Linux x86_64"), ("Linux aarch64", "Linux x86_64")),
        (changed(ORIN, product="tensorrt-rtx"), ("runs in TensorRT alone", "TensorRT-RTX 10.3.0")),
    ],
)
def test_what_cannot_run_here_is_refused_with_both_sides(
    machine: Machine, words: tuple[str, ...]
) -> None:
    with pytest.raises(TargetError) as caught:
        check_here(side_car(), machine, "model.engine")
    text = str(caught.value)
    assert text.startswith("model.engine: ")
    assert all(word in text for word in words), text
    assert "detq build" in text


def test_a_version_that_leaves_out_the_last_number_is_the_same() -> None:
    by_trtexec = side_car(changed(ORIN, tensorrt="8.5.2"))
    assert check_here(by_trtexec, changed(ORIN, tensorrt="8.5.2.2"), "m") == ""
    with pytest.raises(TargetError, match="another version"):
        check_here(by_trtexec, changed(ORIN, tensorrt="8.5.3.1"), "m")


def test_another_model_of_the_same_architecture_is_told() -> None:
    warning = check_here(side_car(), changed(ORIN, gpu="Orin Nano"), "m.engine")
    assert warning == "m.engine was built on Orin, this is Orin Nano: its speed may differ"
    assert check_here(side_car(hardware="same-sm"), changed(ORIN, gpu="Orin Nano"), "m") == ""


def test_compatible_engines_go_further() -> None:
    later = changed(ORIN, tensorrt="11.4.0")
    assert check_here(side_car(version_compatible=True), later, "m") == ""
    with pytest.raises(TargetError, match="another version"):
        check_here(side_car(version_compatible=True), changed(ORIN, tensorrt="10.2.0"), "m")
    ampere = side_car(hardware="ampere")
    assert check_here(ampere, changed(ORIN, sm="sm120", gpu="RTX"), "m") == ""
    with pytest.raises(TargetError, match="another GPU"):
        check_here(ampere, changed(ORIN, sm="sm75", gpu="T4"), "m")


def test_a_plan_of_rtx_is_for_an_architecture_and_later_ones() -> None:
    built = Machine(product="tensorrt-rtx", tensorrt="1.7.1.116", sm="sm86")
    here = changed(ORIN, product="tensorrt-rtx", tensorrt="1.7.1.116", sm="sm120", gpu="RTX 5090")
    assert check_here(side_car(built), here, "m") == ""
    with pytest.raises(TargetError, match=r"TensorRT-RTX 1.7.1.116 on sm86"):
        check_here(side_car(built), changed(here, sm="sm75", gpu="T4"), "m")


def test_without_a_side_car_the_remedy_is_told(tmp_path: Path) -> None:
    engine = tmp_path / "model.engine"
    engine.write_bytes(PLAN)
    with pytest.raises(InputError, match=r"no model.engine.json beside it.*detq build"):
        read_side_car(engine)


@pytest.mark.parametrize("text", ["", "{", '{"onnx": 3}', "[]"])
def test_a_damaged_side_car_is_told(tmp_path: Path, text: str) -> None:
    engine = written(tmp_path, side_car())
    side_car_path(engine).write_text(text)
    with pytest.raises(InputError, match=r"model.engine.json: is damaged"):
        read_side_car(engine)


def test_a_truncated_or_other_engine_is_refused_before_tensorrt_sees_it(tmp_path: Path) -> None:
    engine = written(tmp_path, side_car())
    engine.write_bytes(PLAN[:-1])
    with pytest.raises(InputError, match="has 17 bytes, not the 18 that were built"):
        read_engine(engine, ORIN)
    engine.write_bytes(PLAN[::-1])
    with pytest.raises(InputError, match=r"is not the engine that its .json is of"):
        read_engine(engine, ORIN)
    engine.unlink()
    with pytest.raises(InputError, match="no such file"):
        read_engine(engine, ORIN)
