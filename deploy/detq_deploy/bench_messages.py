"""What the driver of a benchmark and its workers say to each other, one JSON line each."""

from typing import IO, Any, TypeVar

import msgspec

from detq import errors
from detq.errors import DetqError, TargetError
from detq_deploy.inspect_cpu import LayerCounts

M = TypeVar("M")


class Open(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Load a model, make its images and run until it is warm; answered by ``Ready``.

    Attributes:
        step: what is timed instead of the model alone, as ``module:function``; the function makes
            a step of a runner, the path ``pictures`` and the number of images in a step.
    """

    backend: str
    path: str
    threads: int
    batch: int | None
    size: tuple[int, int] | None
    images: str | None
    warmup_ms: float
    cuda_graph: bool = False
    step: str = ""
    pictures: str = ""


class Burst(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Run for so long and so often at least; answered by ``Timed``."""

    ms: float
    runs: int


class Inspect(msgspec.Struct, frozen=True, tag=True):
    """Tell how the convolutions run; answered by ``Inspected``."""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The model is loaded and warm."""

    engine: str
    batch: int
    size: tuple[int, int]


class Timed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One burst.

    Attributes:
        wall_ms: per image, of every run.
        cpu_ms: per image, of the whole process, all threads, over the burst.
        gpu_ms: per image, of every run, by the GPU's own clock; none on a CPU.
        peak_rss_mib: of the process so far.
    """

    wall_ms: list[float]
    cpu_ms: float
    peak_rss_mib: float
    gpu_ms: list[float] = []


class Inspected(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How the convolutions run; None where the backend cannot tell."""

    layers: LayerCounts | None


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An error of the user's, on its way to the driver."""

    kind: str
    what: str
    where: str
    hint: str


Request = Burst | Inspect  # after Open, as often as the driver likes
Reply = Ready | Timed | Inspected | Failed


def send(pipe: IO[bytes], message: Open | Request | Reply) -> None:
    """Write one line, at once."""
    pipe.write(msgspec.json.encode(message) + b"\n")
    pipe.flush()


def receive(pipe: IO[bytes], kinds: Any) -> Any:
    """Read one line as one of ``kinds``; None when the other side is gone."""
    line = pipe.readline()
    return msgspec.json.decode(line, type=kinds) if line else None


def failed_from_error(error: DetqError) -> Failed:
    """The error as a message."""
    return Failed(kind=type(error).__name__, what=error.what, where=error.where, hint=error.hint)


def error_from_failed(failed: Failed) -> DetqError:
    """The error as it was raised; one of a class unknown here is a TargetError."""
    kind = getattr(errors, failed.kind, TargetError)
    error: DetqError = kind(failed.what, where=failed.where, hint=failed.hint)
    return error
