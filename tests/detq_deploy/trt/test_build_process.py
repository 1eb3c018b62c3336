import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from detq.errors import DetqError, InputError, TargetError
from detq_deploy.trt import build_process
from detq_deploy.trt.build_process import build_apart
from detq_deploy.trt.request import BuildRequest
from tests.detq_deploy.trt.rtx_files import needs_rtx

Worker = Callable[[str], None]

SAY = """
import sys, time
from detq_deploy.trt.messages import Built, Cancelled, Progressed, say
from detq_deploy.trt.request import BuildAnswer
from detq_deploy.trt.machine import Machine
out = sys.stdout.buffer
"""


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    def run(program: str) -> None:
        monkeypatch.setattr(build_process, "_COMMAND", [sys.executable, "-c", program])

    return run


def test_what_it_says_is_passed_on(worker: Worker) -> None:
    worker(
        SAY + "say(out, Progressed(phase='a', part=0.5))\n"
        "machine = Machine(product='tensorrt', tensorrt='10.3.0')\n"
        "say(out, Built(answer=BuildAnswer(machine=machine, plan_bytes=7)))"
    )
    told: list[tuple[str, float]] = []
    answer = build_apart(BuildRequest(onnx="m"), lambda phase, part: told.append((phase, part)))
    assert told == [("a", 0.5)]
    assert answer.plan_bytes == 7


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "stopped: signal SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL.*too little memory"),
        ("raise SystemExit('no such thing')", "exit status 1, no such thing"),
    ],
)
def test_a_crash_is_one_line(worker: Worker, program: str, text: str) -> None:
    worker(program)
    with pytest.raises(TargetError, match=rf"m.onnx: TensorRT .*{text}"):
        build_apart(BuildRequest(onnx="m.onnx"))


@needs_rtx
def test_an_error_arrives_as_it_was_raised() -> None:
    with pytest.raises(InputError) as caught:
        build_apart(BuildRequest(onnx="no.onnx", product="tensorrt-rtx"))
    assert "no.onnx: no such file" in str(caught.value)


def test_an_answer_that_never_comes_is_told(worker: Worker) -> None:
    worker("import time; time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(TargetError, match="gave no answer in 1 s"):
        build_apart(BuildRequest(onnx="m"), longest=1.0)
    assert time.monotonic() - start < 30


def test_ctrl_c_stops_the_builder_before_it_comes_back(worker: Worker, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    worker(
        SAY + "import signal, threading\n"
        "stop = threading.Event()\n"
        "signal.signal(signal.SIGINT, lambda *_: stop.set())\n"
        "say(out, Progressed(phase='a', part=0.1))\n"
        "while not stop.wait(0.05): pass\n"
        f"open({str(ended)!r}, 'w').close()\n"
        "say(out, Cancelled())"
    )
    main = threading.get_ident()

    def tell(phase: str, part: float) -> None:
        signal.pthread_kill(main, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            build_apart(BuildRequest(onnx="m"), tell)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.exists()


def test_the_worker_keeps_the_librarys_prints_out_of_its_answers(
    worker: Worker, tmp_path: Path
) -> None:
    worker(
        "import os\n"
        "from detq_deploy.trt import worker\n"
        "def build(request, tell, cancelled):\n"
        "    os.write(1, b'NVIDIA says hello\\n')\n"
        "    tell('a', 0.25)\n"
        "    raise worker.DetqError('refused', where='here', hint='there')\n"
        "worker.build_plan = build\n"
        "worker.main()"
    )
    told: list[float] = []
    with pytest.raises(DetqError, match=r"here: refused \(there\)"):
        build_apart(BuildRequest(onnx="m"), lambda phase, part: told.append(part))
    assert told == [0.25]
    assert os.listdir(tmp_path) == []
