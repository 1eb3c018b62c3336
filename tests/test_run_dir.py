import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from detq import __version__
from detq.errors import InputError
from detq.run_dir import RunDir, Step, file_hash, key_of
from detq.versions import versions

CHAIN = """
import sys
from pathlib import Path
from detq.run_dir import RunDir

def write(name, text):
    print(name, flush=True)
    (run.path / name).write_text(text)

with RunDir(Path(sys.argv[1])) as run:
    a = run.step("a", lambda: write("a.txt", "1"), inputs={}, outputs=["a.txt"])
    def wait():
        if sys.argv[2] == "hang":
            (run.path / ".part-x-c.txt").write_text("half")
        write("b.txt", "2")
        if sys.argv[2] == "hang":
            sys.stdin.read()
    run.step("b", wait, inputs={}, outputs=["b.txt"], after=[a])
"""


class Chain:
    """Two steps that count how often they were done."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.done = folder, ""

    def __call__(self, first: object = 1, second: object = 1) -> tuple[Step, Step]:
        self.done = ""
        with RunDir(self.folder) as run:
            a = run.step("a", self._work("a"), inputs={"first": first}, outputs=["a", "deep/a"])
            b = run.step("b", self._work("b"), inputs={"second": second}, outputs=["b"], after=[a])
        return a, b

    def _work(self, name: str) -> Callable[[], None]:
        def work() -> None:
            self.done += name
            for path in (self.folder / name, self.folder / "deep" / name):
                path.parent.mkdir(exist_ok=True)
                path.write_text(name)

        return work


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path / "runs" / "one")


def test_a_second_run_does_nothing(chain: Chain) -> None:
    first = chain()
    assert chain.done == "ab"
    assert [step.reused for step in first] == [False, False]
    second = chain()
    assert chain.done == ""
    assert [step.reused for step in second] == [True, True]
    assert [step.digest for step in first] == [step.digest for step in second]


def test_a_new_input_redoes_the_step_and_those_after_it(chain: Chain) -> None:
    chain()
    chain(first=2)
    assert chain.done == "ab"
    chain(first=2, second=2)
    assert chain.done == "b"


@pytest.mark.parametrize("name", ["a", "deep/a", "steps/a.json"])
@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("{}")])
def test_a_lost_or_changed_file_redoes_its_step(
    chain: Chain, name: str, change: Callable[[Path], object]
) -> None:
    chain()
    change(chain.folder / name)
    chain()
    assert chain.done == "a"


def test_other_outputs_redo_the_step(chain: Chain) -> None:
    chain()
    with RunDir(chain.folder) as run:
        step = run.step("a", lambda: None, inputs={"first": 1}, outputs=["a"])
    assert not step.reused


def test_a_step_that_fails_is_not_done(chain: Chain) -> None:
    def fail() -> None:
        (chain.folder / "a").write_text("half")
        raise KeyError

    with pytest.raises(KeyError), RunDir(chain.folder) as run:
        run.step("a", fail, inputs={"first": 1}, outputs=["a"])
    chain()
    assert chain.done == "ab"


def test_a_step_that_fails_takes_the_old_record_with_it(chain: Chain) -> None:
    chain()

    def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError), RunDir(chain.folder) as run:
        run.step("a", fail, inputs={"first": 2}, outputs=["a"])
    chain()
    assert chain.done == "a"


def test_an_output_that_was_not_left_is_our_fault(chain: Chain) -> None:
    with pytest.raises(AssertionError, match="did not leave"), RunDir(chain.folder) as run:
        run.step("c", lambda: None, inputs={}, outputs=["c.txt"])


def test_a_step_needs_the_folder() -> None:
    with pytest.raises(AssertionError, match="outside the with block"):
        RunDir(Path("x")).step("a", lambda: None, inputs={}, outputs=[])


def test_a_record_says_what_a_step_was_made_from(chain: Chain) -> None:
    a, _ = chain()
    record = json.loads((chain.folder / "steps" / "b.json").read_text())
    assert record["inputs"] == {
        "after": {"a": a.digest},
        "detq": __version__,
        "inputs": {"second": 1},
    }
    assert record["outputs"] == {"b": file_hash(chain.folder / "b")}


def test_a_key_knows_no_order_and_refuses_what_has_no_text() -> None:
    assert key_of({"a": 1, "b": Path("x")}) == key_of({"b": Path("x"), "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})
    with pytest.raises(TypeError, match="object has no canonical text"):
        key_of({"a": object()})


def test_file_hash_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_hash(tmp_path / "abc").startswith("ba7816bf8f01cfea")
    with pytest.raises(InputError, match="none: cannot be read: No such file"):
        file_hash(tmp_path / "none")


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="is neither empty nor the folder of a run"):
        RunDir(tmp_path).__enter__()
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_runs_do_not_share_a_folder(chain: Chain) -> None:
    with RunDir(chain.folder), pytest.raises(InputError) as caught:
        chain()
    assert f"is in use by process {os.getpid()} on" in str(caught.value)
    chain()
    assert chain.done == "ab"


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", CHAIN, str(folder)]
    with subprocess.Popen(
        [*command, "hang"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in "ab"] == ["a.txt\n", "b.txt\n"]
        process.send_signal(signal.SIGKILL)
    again = subprocess.run([*command, "go"], capture_output=True, text=True, check=True)
    assert again.stdout == "b.txt\n"
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert names == ["a.txt", "b.txt", "detq.lock", "steps/a.json", "steps/b.json"]


@pytest.mark.parametrize(("name", "why"), [("file", "a file is in the way"), ("file/run", ".*")])
def test_a_place_for_no_folder(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"{name}: cannot be a run folder: {why}"):
        RunDir(tmp_path / name).__enter__()


def test_a_full_disk_is_told_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    limited = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
from detq.errors import InputError
from detq.whole_file import written_whole

def write():
    with written_whole(run.path / "big.bin") as path:
        path.write_bytes(bytes(5000))

try:
    with RunDir(Path(sys.argv[1])) as run:
        run.step("big", write, inputs={}, outputs=["big.bin"])
except InputError as error:
    print(error)
"""
    program = CHAIN.partition("def write")[0] + limited
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{tmp_path}/big.bin: cannot be written: File too large (choose")
    assert done.stdout.count("\n") == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["detq.lock"]


def test_the_manifest(chain: Chain) -> None:
    with RunDir(chain.folder) as run:
        run.write_manifest({"size": (320, 320), "checkpoint": Path("/a.pt")})
    manifest = json.loads((chain.folder / "manifest.json").read_text())
    assert manifest["recipe"] == {"checkpoint": "/a.pt", "size": [320, 320]}
    assert manifest["versions"] == versions()
    assert manifest["platform"]


def test_versions_are_found_without_importing() -> None:
    program = (
        "import sys; from detq.versions import versions; found = versions();"
        "print(found['detq'], found['numpy'], 'numpy' in sys.modules)"
    )
    import numpy as np

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [__version__, np.__version__, "False"]


def test_a_killed_step_is_not_taken_up_with_other_inputs(tmp_path: Path) -> None:
    made: list[int] = []

    def calibrate(seed: int, count: int, *, dies: BaseException | None = None) -> None:
        def work() -> None:
            if dies is not None:
                raise dies
            made.append(seed)
            (tmp_path / "a").write_text(str(seed))

        with RunDir(tmp_path) as run:
            inputs = {"seed": seed, "count": count}
            run.step("calibrate", work, inputs=inputs, outputs=["a"], under_same=True)

    with pytest.raises(KeyboardInterrupt):  # as a kill: nothing is tidied up
        calibrate(0, 8, dies=KeyboardInterrupt())
    with pytest.raises(InputError) as caught:
        calibrate(1, 8)
    assert "calibrate was interrupted here with other choices: seed was 0, is 1" in str(
        caught.value
    )
    calibrate(0, 8)
    assert made == [0]
    calibrate(1, 8)  # it was whole: a change is simply done
    with pytest.raises(InputError, match="for a test"):
        calibrate(2, 8, dies=InputError("for a test"))
    calibrate(3, 4)  # it had stopped by itself
    assert made == [0, 1, 3]
    assert not list((tmp_path / "steps").glob("*.begun.json"))
