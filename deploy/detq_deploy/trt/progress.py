"""How far a build is, as TensorRT 10 and later say it; and the way to stop it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Tell = Callable[[str, float], None]
"""Is told a phase and the part of the whole that is done, 0 to 1."""


@dataclass
class _Phase:
    parent: str
    steps: int
    done: int = 0


class Phases:
    """Phases inside phases, summed to one number; used by several threads.

    Args:
        tell: is told after every step.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._open: dict[str, _Phase] = {}
        self._lock = threading.Lock()
        self._most = 0.0

    def start(self, name: str, parent: str, steps: int) -> None:
        """A phase of so many steps begins, inside another if ``parent`` names one."""
        with self._lock:
            self._open[name] = _Phase(parent or "", steps)
            self._say(name)

    def step(self, name: str, step: int) -> None:
        """Step number ``step``, from 0, of a phase is done."""
        with self._lock:
            if name in self._open:
                self._open[name].done = step + 1
                self._say(name)

    def finish(self, name: str) -> None:
        """A phase ends."""
        with self._lock:
            self._open.pop(name, None)

    def _say(self, name: str) -> None:
        roots = [key for key, phase in self._open.items() if phase.parent not in self._open]
        # A phase that comes back would make the bar run backwards.
        self._most = max(self._most, *(self._part(root) for root in roots))
        self._tell(name, min(self._most, 1.0))

    def _part(self, name: str) -> float:
        phase = self._open[name]
        inside = max(
            (self._part(key) for key, found in self._open.items() if found.parent == name),
            default=0.0,
        )
        return (phase.done + min(inside, 1.0)) / max(phase.steps, 1)


def new_monitor(phases: Phases, cancelled: threading.Event) -> Any | None:
    """A ``tensorrt.IProgressMonitor``; None where TensorRT has none (before 10).

    It has to outlive the build.

    Args:
        phases: are told.
        cancelled: once set, the builder is asked to stop.
    """
    import tensorrt as trt

    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc,name-defined,unused-ignore]
        """Called by the builder's threads."""

        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: Any) -> None:
            """A phase begins."""
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: Any) -> bool:
            """A step is done; whether to go on."""
            phases.step(phase_name, step)
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            """A phase ends."""
            phases.finish(phase_name)

    return Monitor()
