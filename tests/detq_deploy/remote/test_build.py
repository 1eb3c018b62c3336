import hashlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from detq.errors import InputError, TargetError
from detq_deploy.remote.build import Tellers, build_there, version_from_banner
from detq_deploy.remote.host import Host, host_from
from detq_deploy.remote.serving import RemoteRunner
from detq_deploy.targets import target_named
from detq_deploy.trt.make import Made, Order
from detq_deploy.trt.request import Settings
from detq_deploy.trt.side_car import read_side_car
from tests.detq_deploy.remote.with_tensorrt import install_tensorrt
from tests.loopback import Device


@pytest.fixture
def host(a_device: Device) -> Host:
    return host_from(a_device.on)


def order(file: Path, target: str = "trt10.3") -> Order:
    return Order(onnx=file, target=target_named(target), settings=Settings())


def test_trtexec_builds_and_engine_and_side_car_come_back(
    a_device: Device, host: Host, float_file: Path, tmp_path: Path
) -> None:
    install_tensorrt(a_device, python=False)
    engine = tmp_path / "out" / "float.engine"
    lines: list[str] = []
    made = build_there(host, order(float_file), engine, tell=Tellers(lines.append))
    assert engine.read_bytes() == b"ftrt" + float_file.read_bytes()
    side_car = read_side_car(engine)
    assert made.side_car == side_car
    machine = side_car.machine
    assert (machine.tensorrt, machine.gpu, machine.sm) == ("10.3.0", "Orin", "sm87")
    assert (machine.memory_mib, machine.platform.split()[0]) == (30536, "Linux")
    assert side_car.engine_sha256 == hashlib.sha256(engine.read_bytes()).hexdigest()
    assert side_car.seconds == 12.5
    assert "--stronglyTyped" in side_car.flags
    assert [(b.name, b.dtype, b.shape) for b in side_car.inputs] == [
        ("images", "FLOAT", (1, 3, 16, 16))
    ]
    assert json.loads(side_car.layers)["Layers"][0]["Name"] == "first/Conv"
    assert any("Engine built in" in line for line in lines)


def test_what_is_built_runs_over_there(
    a_device: Device, host: Host, float_file: Path, tmp_path: Path
) -> None:
    install_tensorrt(a_device)
    engine = tmp_path / "float.engine"
    build_there(host, order(float_file), engine)
    with RemoteRunner(host, engine) as runner:  # no contract needed: the side-car has it
        assert runner.detector.names == ("cat", "dog")


def test_an_engine_of_another_version_or_gpu_is_refused_with_both_sides(
    a_device: Device, host: Host, float_file: Path, tmp_path: Path
) -> None:
    install_tensorrt(a_device)
    engine = tmp_path / "float.engine"
    build_there(host, order(float_file), engine)
    side_car = engine.with_name("float.engine.json")
    side_car.write_text(side_car.read_text().replace("10.3.0", "8.5.2"))
    with pytest.raises(TargetError, match=r"TensorRT 8.5.2 on Orin \(sm87\), here is 10.3.0 on"):
        RemoteRunner(host, engine)


def test_a_build_that_is_done_is_not_done_again(
    a_device: Device, host: Host, float_file: Path, tmp_path: Path
) -> None:
    install_tensorrt(a_device, python=False)
    first = build_there(host, order(float_file), tmp_path / "float.engine")
    (a_device.home / "refuse").touch()
    again = build_there(host, order(float_file), tmp_path / "float.engine")
    assert again == first
    other = order(float_file, "trt10.13")
    with pytest.raises(TargetError, match="Could not find any implementation"):
        build_there(host, Order(other.onnx, other.target, Settings(sparse=True)), tmp_path / "e")


def test_what_trtexec_refuses_is_told_in_its_words(
    a_device: Device, host: Host, float_file: Path, tmp_path: Path
) -> None:
    install_tensorrt(a_device, python=False)
    (a_device.home / "refuse").touch()
    with pytest.raises(TargetError, match=r"trtexec: .*implementation for node first/Conv"):
        build_there(host, order(float_file), tmp_path / "float.engine")
    assert not list(tmp_path.glob("*.engine*"))


def test_another_tensorrt_over_there_is_told_with_the_right_target(
    a_device: Device, host: Host, float_file: Path, tmp_path: Path
) -> None:
    install_tensorrt(a_device, python=False)
    weak = Order(float_file, target_named("trt8.5"), Settings(typing="weak"))
    with pytest.raises(TargetError, match=r"to be built with TensorRT 8.5, .*--target trt10.3"):
        build_there(host, weak, tmp_path / "float.engine")


def test_a_device_with_nothing_is_told(
    a_device: Device, host: Host, float_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(TargetError, match=r"neither detq nor trtexec \(sudo apt-get install"):
        build_there(host, order(float_file), tmp_path / "float.engine")


def test_a_missing_file_is_told_before_anybody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        build_there(Host("nobody.invalid"), order(tmp_path / "missing.onnx"), tmp_path / "e")


def test_ctrl_c_ends_trtexec(
    a_device: Device, host: Host, float_file: Path, tmp_path: Path
) -> None:
    install_tensorrt(a_device, python=False)
    (a_device.home / "slow").touch()
    wrapper = a_device.programs / "trtexec"
    wrapper.write_text(wrapper.read_text().replace("\n", f"\necho $$ > {a_device.home}/pid\n", 1))

    def interrupt() -> None:
        while not (a_device.home / "building").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        build_there(host, order(float_file), tmp_path / "float.engine")
    pid = int((a_device.home / "pid").read_text())
    for _ in range(100):
        if not Path(f"/proc/{pid}/cmdline").exists():
            break
        time.sleep(0.05)
    else:
        raise AssertionError("trtexec goes on")


DETQ = """#!/bin/sh
case "$*" in
*__version__*) echo {version}; exit 0;;
*" build "*) ;;
*) exec {python} "$@";;
esac
echo "$@" >> $HOME/asked
echo "building" >&2
[ -e $HOME/refuse ] && {{ echo "detq: model.onnx: too little memory (end programs)" >&2; exit 2; }}
while [ $# -gt 1 ]; do
  case "$1" in build) onnx=$2;; --output) engine=$2;; esac
  shift
done
cp $HOME/given.engine "$engine"
cp $HOME/given.engine.json "$engine.json"
echo '{{"engine": "x", "engine_json": {{}}, "findings": [], "warnings": ["mind the gap"]}}'
"""


def install_detq(device: Device, made: Made, engine: Path, version: str) -> None:
    import sys

    assert made.side_car is not None
    (device.home / "given.engine").write_bytes(engine.read_bytes())
    (device.home / "given.engine.json").write_bytes(
        engine.with_name(f"{engine.name}.json").read_bytes()
    )
    device.program("detq", "#!/bin/sh\n")
    device.program("python", DETQ.format(version=version, python=sys.executable))


def test_detq_over_there_is_asked_with_the_same_options(
    a_device: Device, host: Host, float_file: Path, tmp_path: Path
) -> None:
    from detq import __version__

    install_tensorrt(a_device)
    given = tmp_path / "given.engine"
    install_detq(a_device, build_there(host, order(float_file), given), given, __version__)
    lines: list[str] = []
    made = build_there(
        host, order(float_file), tmp_path / "float.engine", ["--sparse"], tell=Tellers(lines.append)
    )
    assert (tmp_path / "float.engine").read_bytes() == given.read_bytes()
    assert made.warnings[-1] == "mind the gap"
    assert lines == ["building"]
    asked = (a_device.home / "asked").read_text()
    assert asked.startswith("-m detq build ")
    assert " --sparse --timing-cache " in asked
    elsewhere = build_there(host, order(float_file), tmp_path / "b.engine", ["--sparse"])
    assert elsewhere.side_car == made.side_car
    assert (tmp_path / "b.engine").read_bytes() == given.read_bytes()
    (a_device.home / "refuse").touch()
    with pytest.raises(TargetError, match=r"model.onnx: too little memory \(end programs\)"):
        build_there(host, order(float_file), tmp_path / "float.engine", ["--dla", "0"])


def test_a_detq_of_another_version_is_passed_over(
    a_device: Device, host: Host, float_file: Path, tmp_path: Path
) -> None:
    install_tensorrt(a_device)
    given = tmp_path / "given.engine"
    made = build_there(host, order(float_file), given)
    install_detq(a_device, made, given, "0.0.1")
    assert build_there(host, order(float_file), tmp_path / "float.engine").side_car
    assert not (a_device.home / "asked").exists()
    (a_device.programs / "trtexec").unlink()
    with pytest.raises(TargetError, match=r"has detq 0.0.1, here is .*install the same detq"):
        build_there(host, order(float_file), tmp_path / "float.engine")


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("TensorRT v8401", "8.4.1"),
        ("TensorRT v8502", "8.5.2"),
        ("TensorRT v100300", "10.3.0"),
        ("TensorRT v101302", "10.13.2"),
        ("TensorRT v11.1.0.106", "11.1.0.106"),
    ],
)
def test_the_version_stands_in_the_banner(banner: str, version: str) -> None:
    assert version_from_banner(banner) == version


def test_a_trtexec_that_says_nothing_is_told() -> None:
    with pytest.raises(TargetError, match="which is no version"):
        version_from_banner("")
