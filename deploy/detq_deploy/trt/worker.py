"""TensorRT's builder in a process of its own: its library is native, and may end the process.

``python -m detq_deploy.trt.worker`` reads a ``BuildRequest`` on standard input and says on standard
output how far it is and how it went. Ctrl-C asks the builder to stop.
"""

import os
import signal
import sys
import threading
from types import FrameType
from typing import IO

import msgspec

from detq.errors import DetqError
from detq_deploy.bench_messages import failed_from_error
from detq_deploy.trt.build import build_plan
from detq_deploy.trt.messages import Built, Cancelled, Message, Progressed, say
from detq_deploy.trt.request import BuildRequest


def main() -> None:
    """Read, build, answer."""
    answers = _own_output()
    cancelled = threading.Event()

    def cancel(number: int, frame: FrameType | None) -> None:
        cancelled.set()

    signal.signal(signal.SIGINT, cancel)
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=BuildRequest)
    say(answers, _built(request, answers, cancelled))


def _built(request: BuildRequest, answers: IO[bytes], cancelled: threading.Event) -> Message:
    lock = threading.Lock()

    def tell(phase: str, part: float) -> None:
        with lock:
            say(answers, Progressed(phase=phase, part=part))

    try:
        return Built(answer=build_plan(request, tell, cancelled))
    except DetqError as error:
        return failed_from_error(error)
    except KeyboardInterrupt:
        return Cancelled()


def _own_output() -> IO[bytes]:
    """Standard output for our answers alone; what NVIDIA's library prints goes to the errors."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


if __name__ == "__main__":
    main()
