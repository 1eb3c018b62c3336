"""The command line as a user meets it: what came out, and what was left behind."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tests.tiny_dataset import TinyDataset

SIZE = "64x96"
DEMO = ("--pictures", "6", "--calibration", "4", "--threads", "1")  # a short one


@dataclass(frozen=True)
class Tiny:
    """A trained checkpoint, pictures, and what ``detq quantize`` made of them."""

    checkpoint: Path
    data: TinyDataset
    models: Path

    def model(self, name: str) -> Path:
        return self.models / f"{name}.onnx"


@dataclass(frozen=True)
class Called:
    """One call of ``detq``."""

    code: int
    out: str
    err: str

    def done(self) -> "Called":
        assert self.code == 0, self.err
        return self

    def refused(self, *texts: str) -> str:
        """The user's mistake, told in one line that holds all of ``texts``."""
        last = self.err.splitlines()[-1]
        assert self.code == 2, self
        assert self.out == ""
        assert last.startswith("detq: ")
        assert last.endswith(")") or last == "detq: interrupted", f"no remedy: {last}"
        # Above it may stand the steps that were done until then.
        assert all(line.startswith("[") for line in self.err.splitlines()[:-1]), self.err
        assert "Traceback" not in self.err
        for text in texts:
            assert text in last, last
        return last


Detq = Callable[..., Called]


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, with the hash of its content."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files
    }


def words_of(line: str) -> list[str]:
    """The words of a shell's ``detq`` command behind its name, without what the shell takes."""
    plain = line.removeprefix("source <(").removesuffix(")")
    called, *words = shlex.split(plain, comments=True)
    assert called == "detq", line
    return words[: words.index(">")] if ">" in words else words
