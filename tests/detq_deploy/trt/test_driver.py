import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from detq.errors import TargetUnavailableError
from detq_deploy.trt import driver
from detq_deploy.trt.driver import Gpu, probe_driver, require_gpu

Build = Callable[..., list[str]]
SOURCE = Path(__file__).with_name("libcuda.c")


@pytest.fixture
def build_libcuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    monkeypatch.setattr(driver, "VERSION_FILE", tmp_path / "version")

    def build(*options: str) -> list[str]:
        path = tmp_path / f"libcuda{len(options)}{''.join(options)}.so"
        words = ["gcc", "-shared", "-fPIC", "-w", *options, "-o", str(path), str(SOURCE)]
        subprocess.run(words, check=True)
        return ["libno-such-library.so", str(path)]

    return build


def test_every_gpu_is_described(build_libcuda: Build, tmp_path: Path) -> None:
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Thu Jul 10 UTC 2025\n"
    )
    found = probe_driver(build_libcuda())
    assert found is not None
    assert (found.version, found.cuda) == ("580.65.06", "12.6")
    assert found.gpus == (
        Gpu(0, "Orin", "sm87", 30 * 1024),
        Gpu(1, "NVIDIA L4", "sm89", 24 * 1024),
    )
    assert require_gpu(build_libcuda()) == (found, found.gpus[0])


def test_no_driver_is_told_without_asking_tensorrt() -> None:
    assert probe_driver(["libno-such-library.so"]) is None
    with pytest.raises(TargetUnavailableError, match=r"no NVIDIA driver.*--target trt-rtx"):
        require_gpu(["libno-such-library.so"])


def test_a_driver_that_does_not_start_is_none(build_libcuda: Build) -> None:
    assert probe_driver(build_libcuda("-DRESULT=803")) is None


def test_a_driver_without_a_gpu_is_told(build_libcuda: Build) -> None:
    found = probe_driver(build_libcuda("-DRESULT=100"))
    assert found is not None
    assert (found.gpus, found.version) == ((), "")
    with pytest.raises(TargetUnavailableError, match=r"NVIDIA driver has no GPU.*--gpus all"):
        require_gpu(build_libcuda("-DRESULT=100"))


def test_this_machine_is_probed_and_lives() -> None:
    found = probe_driver()
    assert found is None or all(gpu.sm.startswith("sm") for gpu in found.gpus)
