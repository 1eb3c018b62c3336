"""TensorRT's log, kept: where a build says why it failed, and TensorRT-RTX what it built."""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorrt as trt


def new_log() -> Any:
    """A ``tensorrt.ILogger`` that keeps every message; ``texts_of`` reads it.

    It has to outlive what was made with it.
    """
    import tensorrt as trt

    class Log(trt.ILogger):  # type: ignore[misc,unused-ignore]
        """Keeps every message; called by several of the builder's threads."""

        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()
            self.kept: list[tuple[str, str]] = []

        def log(self, severity: "trt.ILogger.Severity", msg: str) -> None:
            """Called by the library."""
            with self.lock:
                self.kept.append((severity.name, msg))

    return Log()


def texts_of(log: Any, *severities: str, since: str = "") -> Sequence[str]:
    """Messages of some severities, such as ``WARNING``, each once.

    Args:
        log: of ``new_log``.
        severities: by name.
        since: leave out what stands before the last that begins so; all of it, repetitions
            too, is given from there, and nothing if none begins so.
    """
    with log.lock:
        found = [text for kind, text in log.kept if kind in severities]
    if not since:
        return list(dict.fromkeys(text.strip() for text in found))
    first = [i for i, text in enumerate(found) if text.startswith(since)][-1:]
    return found[first[0] :] if first else []


def last_error(log: Any) -> str:
    """The last that went wrong, in one line; empty if nothing did."""
    errors = texts_of(log, "ERROR", "INTERNAL_ERROR")
    return " ".join(errors[-1].split()) if errors else ""
