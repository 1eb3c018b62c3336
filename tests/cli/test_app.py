import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from detq import __version__
from detq.cli.app import COMMANDS
from detq.cli.arguments import Backend, TargetName
from detq.graph.files import save_model
from detq_deploy.backends import BACKENDS
from detq_deploy.targets import TARGETS
from tests.cli.calls import Detq
from tests.zoo import tiny_detector


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "detq", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_comes_at_once() -> None:
    def seconds() -> float:
        # Processor time: what another program takes from the machine meanwhile is not ours.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.4


def test_help_lists_every_command_in_the_order_of_work(detq: Detq) -> None:
    text = detq("--help").done().out
    places = [text.index(f"│ {name} ") for name in COMMANDS]
    assert places == sorted(places)
    for line in COMMANDS.values():
        assert line in text
    assert detq().out == text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_says_what_it_does_and_shows_a_call(detq: Detq, command: str) -> None:
    called = detq(command, "--help").done()
    assert called.out.startswith(f"Usage: detq {command} ")
    assert f"Example: detq {command}" in called.out
    assert "--json" in called.out
    assert "Traceback" not in called.err
    assert "(640, 640)" not in called.out
    assert "[default: False]" not in called.out


def test_the_choices_are_those_there_are() -> None:
    assert get_args(Backend) == tuple(BACKENDS)
    assert get_args(TargetName) == tuple(TARGETS)


def test_version(detq: Detq) -> None:
    assert detq("--version").done().out.strip() == __version__


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["quantise"], ['"quantise"', 'Did you mean "quantize"?', "see detq --help"]),
        (["eval"], ["MODEL", "see detq eval --help"]),
        (["eval", "a.onnx", "--data", "b", "--bakend", "x"], ["--bakend", "--backend?"]),
        (["eval", "a.onnx", "--data", "b", "--backend", "ort"], ['"ort"', '"onnxruntime"']),
        (["quantize", "a", "--data", "b", "--output", "c", "--target", "trt"], ['"openvino"']),
        (["export", "a", "--output", "b", "--target", "trt10.2"], ['Did you mean "trt10.3"?']),
        (["quantize", "a", "--data", "b", "--output", "c", "--learn", "qrep"], ['"qprep"?']),
        (["completion", "bsh"], ['Did you mean "bash"?']),
        (["export", "a", "--output", "b", "--size", "64q"], ["--size", "'64q'", "384x640"]),
        (["export", "a", "--output", "b", "--size", "8"], ["--size", "32 or more"]),
        (["export", "a", "--output", "b", "--batch", "0"], ["--batch", ">= 1"]),
        (["quantize", "a", "--data", "b", "--output", "c", "--count", "0"], ["--count", ">= 1"]),
        (["quantize", "a", "--data", "b", "--output", "c", "--seed", "-1"], ["--seed", ">= 0"]),
        (["run", "a", "--output", "c", "--count", "0"], ["--count", ">= 1"]),
        (["eval", "a", "--data", "b", "--confidence", "2"], ["--confidence", "< 1"]),
        (["eval", "a", "--data", "b", "--iou", "0"], ["--iou", "> 0"]),
        (["eval", "a", "--data", "b", "--shrink", "-3"], ["--shrink", ">= 0"]),
        (["eval", "a", "--data", "b", "--max-detections", "0"], ["--max-detections", ">= 1"]),
        (["eval", "a", "--data", "b", "--threads", "0"], ["--threads", ">= 1"]),
        (["predict", "a", "b", "--output", "c", "--confidence", "1"], ["--confidence", "< 1"]),
        (["bench", "a", "--rounds", "0"], ["--rounds", ">= 1"]),
        (["bench", "a", "--threads", "0"], ["--threads", ">= 1"]),
        (["bench", "a", "--batch", "0"], ["--batch", ">= 1"]),
        (["bench"], ["no model to time", "give one or more model files"]),
        (["compare", "--data", "b"], ["no model to compare", "give one or more ONNX files"]),
        (["compare", "a", "--data", "b", "--count", "0"], ["--count", ">= 1"]),
    ],
    ids=lambda value: " ".join(value[:1] + value[-2:]) if isinstance(value, list) else "",
)
def test_a_wrong_word_is_named_with_its_remedy(
    detq: Detq, from_folder: Path, words: list[str], texts: list[str]
) -> None:
    detq(*words).refused(*texts)
    assert list(from_folder.iterdir()) == []


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    save_model(tiny_detector().graph, tmp_path / "m.onnx")
    words = [sys.executable, "-m", "detq", "inspect", str(tmp_path / "m.onnx"), "--json"]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": env}
    with subprocess.Popen(words, **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_what_the_system_says_is_one_line(detq: Detq, tmp_path: Path) -> None:
    name = "a" * 300 + ".pt"
    detq("inspect", name).refused(f"{name}: File name too long (correct the path")
    save_model(tiny_detector().graph, tmp_path / "m.onnx")
    words = [sys.executable, "-m", "detq", "inspect", str(tmp_path / "m.onnx"), "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "detq: standard output or an open file: No space left on device "
        "(see to its disk or device)\n"
    )


def test_a_name_that_is_not_utf8(detq: Detq, from_folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9.onnx")
    save_model(tiny_detector().graph, Path("m.onnx"))
    Path("m.onnx").rename(name)
    detq("inspect", name).done()
    detq("inspect", name, "--json").refused("caf\\xe9.onnx: has a name that is not UTF-8")


def test_a_terminal_that_knows_no_unicode(tmp_path: Path) -> None:
    save_model(tiny_detector().graph, tmp_path / "m.onnx")
    words = [sys.executable, "-m", "detq", "inspect", str(tmp_path / "m.onnx")]
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(words, capture_output=True, env=env, check=True)
    assert b"operator" in done.stdout
    assert done.stdout.isascii()
    (tmp_path / "m.onnx").rename(tmp_path / "é𝄞.onnx")
    words[-1] = str(tmp_path / "é𝄞.onnx")
    assert subprocess.run(words, capture_output=True, env=env, check=True).stdout.isascii()
    done = subprocess.run([*words, "--json"], capture_output=True, env=env, check=True)
    assert done.stdout.isascii()
    assert json.loads(done.stdout)["file"] == words[-1]
