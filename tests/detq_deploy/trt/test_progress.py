import threading

import pytest

from detq_deploy.trt.progress import Phases, new_monitor
from tests.detq_deploy.trt.contract.double import Double


def test_phases_inside_phases_add_up() -> None:
    told: list[tuple[str, float]] = []
    phases = Phases(lambda name, part: told.append((name, part)))
    phases.start("build", "", 2)
    phases.start("tactics", "build", 4)
    phases.step("tactics", 0)
    phases.step("tactics", 3)
    phases.finish("tactics")
    phases.step("build", 0)
    phases.step("build", 1)
    phases.step("never begun", 1)
    phases.finish("build")
    assert [name for name, _ in told] == [
        "build",
        "tactics",
        "tactics",
        "tactics",
        "build",
        "build",
    ]
    assert [part for _, part in told] == pytest.approx([0, 0, 1 / 8, 1 / 2, 1 / 2, 1], abs=1e-12)


def test_the_bar_never_runs_backwards() -> None:
    told: list[float] = []
    phases = Phases(lambda name, part: told.append(part))
    phases.start("first", "", 1)
    phases.step("first", 0)
    phases.finish("first")
    phases.start("second", "", 10)
    phases.step("second", 0)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_a_monitor_tells_and_stops(double: Double) -> None:
    told: list[tuple[str, float]] = []
    cancelled = threading.Event()
    monitor = new_monitor(Phases(lambda name, part: told.append((name, part))), cancelled)
    if double.version.version.startswith("8"):
        assert monitor is None
        return
    assert isinstance(monitor, double.module.IProgressMonitor)
    monitor.phase_start("build", None, 2)
    assert monitor.step_complete("build", 0)
    assert told[-1] == ("build", 0.5)
    cancelled.set()
    assert not monitor.step_complete("build", 1)
    monitor.phase_finish("build")


def test_a_monitor_has_the_methods_that_tensorrt_calls(double: Double) -> None:
    monitor = new_monitor(Phases(lambda name, part: None), threading.Event())
    if monitor is None:
        return
    base = double.module.IProgressMonitor
    theirs = {name for name in vars(base) if not name.startswith("_")}
    assert theirs == {name for name in vars(type(monitor)) if not name.startswith("_")}
