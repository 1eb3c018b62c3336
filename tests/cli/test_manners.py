"""What holds for every command: plain output, one JSON, silence when asked, no stray files."""

import json
import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from detq.cli.app import COMMANDS, main
from tests.cli.calls import DEMO, SIZE, Detq, Tiny, tree

pytest.importorskip("torch", reason="some of the commands quantize")

Words = list[object]
COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-7]|38|4[0-7]|48|9[0-7])[0-9;]*m")
# Lines on standard error between the steps of a chain, and what is never held back.
NOTE = re.compile(r"\[\d+/\d+\] [\w.-]+: |warning: |(minmax|default) recipe$|only: (running|done)$")


def calls(tiny: Tiny, demo: Path, cache: Path, out: Path) -> dict[str, Words]:
    """A call of each command that ends well; what it writes goes below ``out``."""
    float_, plain = tiny.model("float"), tiny.model("model.plain")
    recipe = out.parent / "given" / "recipe.yaml"
    return {
        "doctor": [],
        "demo": ["--output", demo, *DEMO],
        "inspect": [float_],
        "export": [plain, "--target", "trt10.3", "--output", out / "m.onnx"],
        "quantize": [tiny.checkpoint, "--data", tiny.data.train, "--size", SIZE, "--count", 2,
                     "--learn", "none", "--output", out / "int8"],
        "import-cache": [cache.with_suffix(".onnx"), cache, "--output", out / "q.onnx"],
        "lint": [plain],
        "build": [float_, "--target", "trt8.6", "--print-trtexec"],
        "eval": [float_, "--data", tiny.data.yolo, "--threads", 1],
        "compare": [float_, plain, "--data", tiny.data.yolo, "--backend", "torch", "--count", 1],
        "bench": [float_, "--rounds", 1, "--threads", 1],
        "predict": [float_, tiny.data.val, "--output", out / "seen"],
        "run": [recipe, "--output", out / "run"],
        "report": [tiny.models, "--output", out / "page.html"],
        "tune": [recipe, "--sensitivity", "--images", 2, "--confirm", 0, "--output", out / "tuned"],
        "gate": [out / "run", "--min-ap", 0],
        "sweep": [recipe.with_name("grid.yaml"), "--output", out / "sweep", "--jobs", 1],
        "config": ["--explain"],
        "completion": ["bash"],
    }  # fmt: skip


@pytest.fixture(scope="session")
def cache(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration cache, with the float ONNX that it is for beside it."""
    path = tmp_path_factory.mktemp("cache") / "m.onnx"
    words = ["export", tiny.model("model.plain"), "--target", "trt8.5", "--strip", "--batch", 1]
    assert main([str(word) for word in (*words, "--output", path, "--quiet", "--json")]) == 0
    return path.with_suffix(".cache")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny) -> Path:
    """A machine of its own: home, temporary and current folder, empty but for a recipe."""
    for name in ("home", "tmp", "here", "given"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path / "here")
    recipe = {
        "checkpoint": str(tiny.checkpoint),
        "size": [64, 96],
        "calibration": {"data": str(tiny.data.train), "count": 2},
        "learn": [],
        "targets": ["plain"],
        "evaluation": {"data": str(tiny.data.yolo), "backends": ["torch"], "threads": 1},
    }
    (tmp_path / "given" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    grid = {"base": "recipe.yaml", "recipes": {"only": {}}}
    (tmp_path / "given" / "grid.yaml").write_text(yaml.safe_dump(grid))
    return tmp_path


Call = Callable[[Path], Words]


@pytest.fixture
def call(request: pytest.FixtureRequest, tiny: Tiny, cache: Path) -> Call:
    def words(home: Path) -> Words:
        needs_demo = request.node.callspec.params["command"] == "demo"
        demo = request.getfixturevalue("demo_output") if needs_demo else home
        command = request.node.callspec.params["command"]
        if command == "gate":
            recipe = home / "given" / "recipe.yaml"
            assert main(["run", str(recipe), "--output", str(home / "out" / "run"), "--quiet"]) == 0
        return [command, *calls(tiny, demo, cache, home / "out")[command]]

    return words


def test_no_command_is_left_out(tiny: Tiny, tmp_path: Path) -> None:
    assert set(calls(tiny, tmp_path, tmp_path, tmp_path)) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_files_get_plain_lines_programs_get_json_and_nothing_is_left_behind(
    detq: Detq, home: Path, call: Call, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = call(home)
    before = set(tree(home))
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    plain = detq(*words).done()
    assert plain.out.strip()
    assert "\x1b" not in plain.out + plain.err
    assert "\r" not in plain.out + plain.err  # a bar that moves
    assert [line for line in plain.err.splitlines() if not NOTE.match(line)] == []
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if it were a terminal
    called = detq(*words, "--json", "--quiet").done()
    assert isinstance(json.loads(called.out), dict | list)
    assert "\x1b" not in called.out
    assert called.err == ""
    left = {name for name in set(tree(home)) - before if not name.startswith("out/")}
    assert left == set()


def in_terminal(*words: object, **env: str) -> str:
    """Everything that a real terminal shows."""
    ours, theirs = pty.openpty()
    plain = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    command = [sys.executable, "-m", "detq", *(str(word) for word in words)]
    environment = {**plain, "TERM": "xterm-256color", "COLUMNS": "100", **env}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
            shown += part
        assert process.wait() == 0, shown.decode()
    os.close(ours)
    return shown.decode()


def test_colours_of_a_terminal_and_who_wants_none() -> None:
    assert COLOUR.search(in_terminal("--help"))
    assert not COLOUR.search(in_terminal("--help", NO_COLOR="1"))


def test_progress_is_shown_with_its_end_on_a_terminal(tiny: Tiny, tmp_path: Path) -> None:
    words = ["predict", tiny.model("float"), tiny.data.val, "--output", tmp_path / "seen"]
    shown = in_terminal(*words)
    assert "predict" in shown.split("seen:")[0]
    assert re.search(r"[08]/8.*(\d:\d\d:\d\d|-:--:--)", shown)
    plain = in_terminal(*words, NO_COLOR="1")
    assert "8/8" in plain
    assert not COLOUR.search(plain)
    assert "8/8" not in in_terminal(*words, "--quiet")
