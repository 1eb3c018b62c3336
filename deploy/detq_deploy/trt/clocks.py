"""Clocks and power mode of a GPU, read and never changed: a figure means little without them."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

_SYS = Path("/sys")
_TEGRA_GPU = re.compile(r"gpu|ga10b|gb10b|gv11b|gp10b|gm20b")  # of Thor, Orin, Xavier, TX2, Nano
_MODE = re.compile(r"NV Power Mode:\s*(.+)")
_SMI = ("clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit", "temperature.gpu")
_LONGEST = 5.0  # seconds


class GpuState(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU at one moment.

    Attributes:
        power_mode: of a Jetson, as ``nvpmodel -q`` calls it; empty elsewhere, or if not told.
        clock_mhz: of the GPU now.
        highest_mhz: it is let run at.
        governor: of a Jetson, what sets the clock; empty elsewhere.
        memory_mhz: of the GPU's own memory; None where it has none or that is not told.
        power_limit_w: of a card; None on a Jetson.
        temperature_c: of a card; None on a Jetson.
    """

    power_mode: str = ""
    clock_mhz: float
    highest_mhz: float
    governor: str = ""
    memory_mhz: float | None = None
    power_limit_w: float | None = None
    temperature_c: float | None = None

    @property
    def text(self) -> str:
        """One line for people."""
        parts = [
            f"power mode {self.power_mode}" if self.power_mode else "",
            f"GPU at {self.clock_mhz:.0f} of {self.highest_mhz:.0f} MHz",
            f"governor {self.governor}" if self.governor else "",
            "" if self.memory_mhz is None else f"memory {self.memory_mhz:.0f} MHz",
            "" if self.power_limit_w is None else f"limit {self.power_limit_w:.0f} W",
            "" if self.temperature_c is None else f"{self.temperature_c:.0f} °C",
        ]
        return ", ".join(part for part in parts if part)


def gpu_state(sys: Path = _SYS) -> GpuState | None:
    """The first GPU now; None where nothing tells.

    Args:
        sys: where the kernel tells of its devices.
    """
    return _jetson(sys) or _card()


def _jetson(sys: Path) -> GpuState | None:
    folders = sorted((sys / "class" / "devfreq").glob("*"))
    folder = next((found for found in folders if _TEGRA_GPU.search(found.name)), None)
    if folder is None:
        return None
    now, highest = _mhz(folder / "cur_freq"), _mhz(folder / "max_freq")
    if now is None or highest is None:
        return None
    mode = _MODE.search(_said(["nvpmodel", "-q"]))
    return GpuState(
        power_mode=mode[1].strip() if mode else "",
        clock_mhz=now,
        highest_mhz=highest,
        governor=_line(folder / "governor"),
    )


def _card() -> GpuState | None:
    said = _said(
        ["nvidia-smi", f"--query-gpu={','.join(_SMI)}", "--format=csv,noheader,nounits", "--id=0"]
    )
    values = [_number(value) for value in said.strip().split(",")]
    if len(values) != len(_SMI) or values[0] is None or values[1] is None:
        return None
    return GpuState(
        clock_mhz=values[0],
        highest_mhz=values[1],
        memory_mhz=values[2],
        power_limit_w=values[3],
        temperature_c=values[4],
    )


def _said(command: Sequence[str]) -> str:
    """What a command prints; nothing where it is missing, fails or hangs."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LONGEST, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _mhz(path: Path) -> float | None:
    hertz = _number(_line(path))
    return None if hertz is None else hertz / 1e6


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
