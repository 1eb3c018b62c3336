"""What the building process and the one who asked it say to each other, one JSON line each."""

from typing import IO, Any

import msgspec

from detq_deploy.bench_messages import Failed
from detq_deploy.trt.request import BuildAnswer


class Progressed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A phase of the build.

    Attributes:
        phase: as TensorRT calls it.
        part: of the whole that is done, 0 to 1.
    """

    phase: str
    part: float


class Built(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The builder has answered."""

    answer: BuildAnswer


class Cancelled(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """It was asked to stop, and did."""


Message = Progressed | Built | Cancelled | Failed


def say(pipe: IO[bytes], message: Message) -> None:
    """Write one line, at once."""
    pipe.write(msgspec.json.encode(message) + b"\n")
    pipe.flush()


def hear(pipe: IO[bytes]) -> Any:
    """Read one line as a ``Message``; None when the other side is gone."""
    line = pipe.readline()
    return msgspec.json.decode(line, type=Message) if line else None
