from pathlib import Path

import pytest

from detq_deploy.trt.clocks import GpuState, gpu_state


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs, the only one on the path but for the shell's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def devfreq(tmp_path: Path, name: str = "17000000.gpu") -> Path:
    """What the kernel of an Orin tells, beside a device that is no GPU."""
    for device, now in (("13e40000.emc", "2133000000"), (name, "306000000")):
        folder = tmp_path / "sys" / "class" / "devfreq" / device
        folder.mkdir(parents=True)
        (folder / "cur_freq").write_text(f"{now}\n")
        (folder / "max_freq").write_text("624750000\n")
        (folder / "governor").write_text("nvhost_podgov\n")
    return tmp_path / "sys"


@pytest.mark.parametrize(
    "name", ["17000000.gpu", "17000000.ga10b", "17000000.gv11b", "57000000.gpu"]
)
def test_a_jetson(name: str, tmp_path: Path, programs: Path) -> None:
    program(programs, "nvpmodel", '[ "$1" = -q ] && printf "NV Power Mode: 15W\\n2\\n"')
    found = gpu_state(devfreq(tmp_path, name))
    assert found == GpuState(
        power_mode="15W", clock_mhz=306, highest_mhz=624.75, governor="nvhost_podgov"
    )
    assert found.text == "power mode 15W, GPU at 306 of 625 MHz, governor nvhost_podgov"


@pytest.mark.parametrize("script", ["exit 1", "echo of another age"])
def test_a_jetson_that_does_not_tell_its_mode(script: str, tmp_path: Path, programs: Path) -> None:
    program(programs, "nvpmodel", script)
    found = gpu_state(devfreq(tmp_path))
    assert found is not None
    assert (found.power_mode, found.clock_mhz) == ("", 306)


def test_a_card(tmp_path: Path, programs: Path) -> None:
    program(programs, "nvidia-smi", 'echo "1410, 1980, 2619, 700.00, 41"')
    found = gpu_state(tmp_path)
    assert found == GpuState(
        clock_mhz=1410, highest_mhz=1980, memory_mhz=2619, power_limit_w=700, temperature_c=41
    )
    assert found.text == "GPU at 1410 of 1980 MHz, memory 2619 MHz, limit 700 W, 41 °C"


@pytest.mark.parametrize("said", ["No devices were found", "[N/A], [N/A], [N/A], [N/A], 41", ""])
def test_a_card_that_tells_nothing(said: str, tmp_path: Path, programs: Path) -> None:
    program(programs, "nvidia-smi", f'echo "{said}"')
    assert gpu_state(tmp_path) is None


def test_no_gpu(tmp_path: Path, programs: Path) -> None:
    assert gpu_state(tmp_path) is None
