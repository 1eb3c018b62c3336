import sys
from pathlib import Path

import msgspec
import pytest

from detq import __version__
from detq.errors import InputError, TargetError
from detq_deploy.remote.bench import bench_there
from detq_deploy.remote.host import Host, host_from
from tests.detq_deploy.remote.with_tensorrt import as_engine, install_tensorrt
from tests.loopback import Device


@pytest.fixture
def engines(float_file: Path, qdq_file: Path, tmp_path: Path) -> list[Path]:
    return [as_engine(file, tmp_path / f"{file.stem}.engine") for file in (float_file, qdq_file)]


def test_engines_are_timed_in_turn_over_there(a_device: Device, engines: list[Path]) -> None:
    install_tensorrt(a_device)
    rounds: list[int] = []
    found = bench_there(host_from(a_device.on), engines, rounds=3, on_round=rounds.append)
    assert rounds == [1, 1, 2, 2, 3, 3]
    first, second = found.timings
    assert (first.path, second.path) == tuple(map(str, engines))
    assert first.engine == "TensorRT 10.3.0 on Orin (sm87)"
    assert (first.batch, first.size) == (1, (16, 16))
    assert first.speedup.median == 1
    for timing in found.timings:
        assert 0 < timing.wall_ms.min <= timing.wall_ms.median <= timing.wall_ms.p99
        assert timing.gpu_ms is not None
        assert timing.peak_rss_mib > 10
    assert found.cpu.usable_cores >= 1
    assert found.gpu == ()  # no Jetson's clocks here


def test_an_engine_that_does_not_load_is_told(a_device: Device, tmp_path: Path) -> None:
    install_tensorrt(a_device)
    broken = tmp_path / "broken.engine"
    broken.write_bytes(b"no")
    with pytest.raises(TargetError, match=r"does not take broken.engine \(build the engine there"):
        bench_there(host_from(a_device.on), [broken])


def test_onnx_files_and_options_need_detq_over_there(
    a_device: Device, engines: list[Path], float_file: Path
) -> None:
    install_tensorrt(a_device)
    host = host_from(a_device.on)
    with pytest.raises(InputError, match=r"float.onnx needs detq on .*install the same detq"):
        bench_there(host, [float_file])
    with pytest.raises(InputError, match="--cuda-graph needs detq on"):
        bench_there(host, engines, ["--cuda-graph"])


def test_a_missing_file_is_told_before_anybody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        bench_there(Host("nobody.invalid"), [tmp_path / "missing.engine"])


def test_detq_over_there_takes_the_time_itself(a_device: Device, float_file: Path) -> None:
    # This machine's own detq stands for the device's, so the figures are real.
    a_device.program("detq", "#!/bin/sh\n")
    a_device.program("python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    words = ["--backend", "onnxruntime", "--threads", "1"]
    found = bench_there(host_from(a_device.on), [float_file], words, rounds=2)
    assert found.rounds == 2
    assert found.timings[0].path == str(float_file)
    assert found.timings[0].engine.startswith("ONNX Runtime")
    assert msgspec.json.encode(found)
    assert __version__
    with pytest.raises(TargetError, match=r"127.0.0.1:\d+: .*openvino"):
        bench_there(host_from(a_device.on), [float_file], ["--backend", "openvinoo"])
