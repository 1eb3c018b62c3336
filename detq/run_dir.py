"""A run folder: an interrupted run goes on at the step it had reached.

::

    detq.lock            marks the folder and holds other runs off
    manifest.json        versions, machine, recipe
    steps/<name>.json    what a step was made from, and the sha256 of what it left
    steps/<name>.begun.json    what a killed step was being made from
    ...                  what the steps left

A step is done if its record holds the key of today's inputs and every file it left is
still there, byte for byte.
"""

import hashlib
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import msgspec

from detq import __version__
from detq.errors import InputError
from detq.versions import versions
from detq.whole_file import PARTIAL, told, written_whole

LOCK = "detq.lock"
MANIFEST = "manifest.json"
STEPS = "steps"


@dataclass(frozen=True, slots=True)
class Step:
    """A step that is done.

    Attributes:
        name: as given.
        digest: sha256 over its inputs and its outputs; part of the key of steps after it.
        reused: its files were there already.
    """

    name: str
    digest: str
    reused: bool


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What ``steps/<name>.json`` holds.

    Attributes:
        key: sha256 over the inputs, the steps before and the version of detq.
        inputs: as given, for people.
        outputs: path in the run folder to sha256.
        seconds: how long the step took.
    """

    key: str
    inputs: Any
    outputs: dict[str, str]
    seconds: float


class RunDir:
    """A folder for one recipe, held while the ``with`` block runs.

    Args:
        path: a new or empty folder, or one of an earlier run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: TextIO | None = None

    def __enter__(self) -> "RunDir":
        """Make, mark and lock the folder.

        Raises:
            InputError: it holds other things, another run uses it, or it cannot be written.
        """
        with told(self.path, "cannot be a run folder", "give a folder that is writable"):
            self.path.mkdir(parents=True, exist_ok=True)
            names = {entry.name for entry in self.path.iterdir()}
            if names and LOCK not in names:
                raise InputError(
                    "is neither empty nor the folder of a run",
                    where=str(self.path),
                    hint="give a new folder",
                )
            self._lock = _locked(self.path / LOCK)
            for left_behind in self.path.rglob(f"{PARTIAL}*"):  # by a killed process
                left_behind.unlink()
        return self

    def __exit__(self, *error: object) -> None:
        """Let other runs in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def step(
        self,
        name: str,
        work: Callable[[], object],
        *,
        inputs: Mapping[str, object],
        outputs: Sequence[str],
        after: Sequence[Step] = (),
        under_same: bool = False,
    ) -> Step:
        """Do ``work`` unless it was done from the same inputs.

        Args:
            name: of the record.
            work: leaves every file of ``outputs``.
            inputs: plain values, records of recipes, and ``file_hash`` of files read.
            outputs: paths relative to the run folder.
            after: the steps whose files are read.
            under_same: if the step was killed, it goes on from the same inputs or not at all.

        Raises:
            InputError: the record cannot be written, or a killed step has other inputs now; and
                whatever ``work`` raises.
        """
        if self._lock is None:
            raise AssertionError("a step outside the with block of its run folder")
        given = {"detq": __version__, "inputs": inputs, "after": {s.name: s.digest for s in after}}
        key = key_of(given)
        place = self.path / STEPS / f"{name}.json"
        kept = self._kept(place, key, outputs)
        begun = self.path / STEPS / f"{name}.begun.json" if under_same else None
        if kept is None and begun is not None:
            _refuse_others(begun, inputs, self.path)
            _write_json(inputs, begun)
        try:
            record = kept or self._done(place, work, key, given, outputs)
        except Exception:  # it stopped by itself, and nothing is half done
            _forget(begun)
            raise
        _forget(begun)
        return Step(name, key_of([key, record.outputs]), reused=kept is not None)

    def write_manifest(self, recipe: object) -> None:
        """Say what ran where: versions, machine and the resolved recipe."""
        _write_json(
            {"versions": versions(), "platform": platform.platform(), "recipe": recipe},
            self.path / MANIFEST,
        )

    def _kept(self, place: Path, key: str, outputs: Sequence[str]) -> StepRecord | None:
        try:
            record = msgspec.json.decode(place.read_bytes(), type=StepRecord)
        except (OSError, msgspec.DecodeError):  # a step without a good record is done again
            return None
        same = record.key == key and set(record.outputs) == set(outputs)
        return (
            record if same and all(self._holds(*item) for item in record.outputs.items()) else None
        )

    def _holds(self, output: str, known: str) -> bool:
        path = self.path / output
        return path.is_file() and file_hash(path) == known

    def _done(
        self,
        place: Path,
        work: Callable[[], object],
        key: str,
        given: Mapping[str, object],
        outputs: Sequence[str],
    ) -> StepRecord:
        with told(place, "cannot be removed"):
            place.unlink(missing_ok=True)  # from here on the old files may be gone
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        if missing := [output for output in outputs if not (self.path / output).is_file()]:
            raise AssertionError(f"{place.stem} did not leave {missing}")
        left = {output: file_hash(self.path / output) for output in outputs}
        record = StepRecord(key=key, inputs=given, outputs=left, seconds=seconds)
        _write_json(record, place)
        return record


def _refuse_others(begun: Path, inputs: Mapping[str, object], folder: Path) -> None:
    """A killed step that began from other inputs is not taken up silently."""
    if not begun.is_file():
        return
    try:
        before = msgspec.json.decode(begun.read_bytes(), type=dict[str, Any])
    except msgspec.DecodeError:  # killed while it was written
        return
    now = msgspec.json.decode(_encoded(inputs))
    changed = [
        f"{name} was {before.get(name)}, is {now.get(name)}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if changed:
        step = begun.name.removesuffix(".begun.json")
        raise InputError(
            f"{step} was interrupted here with other choices: {'; '.join(changed)}",
            where=str(folder),
            hint=f"finish with the earlier choices, give a new folder, or remove {begun}",
        )


def _forget(begun: Path | None) -> None:
    if begun is not None:
        begun.unlink(missing_ok=True)


def key_of(inputs: object) -> str:
    """Sha256 over the canonical JSON of plain values, records and paths."""
    return hashlib.sha256(_encoded(inputs)).hexdigest()


def file_hash(path: Path) -> str:
    """Sha256 of a file's content.

    Raises:
        InputError: it cannot be read.
    """
    digest = hashlib.sha256()
    with told(path, "cannot be read"), path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _encoded(value: object) -> bytes:
    def encode(other: object) -> str:
        if isinstance(other, Path):
            return str(other)
        raise TypeError(f"{type(other).__name__} has no canonical text")

    return msgspec.json.encode(value, enc_hook=encode, order="sorted")


def _write_json(value: object, path: Path) -> None:
    with written_whole(path) as temporary:
        temporary.write_bytes(msgspec.json.format(_encoded(value), indent=2) + b"\n")


def _locked(path: Path) -> TextIO:
    # The system frees the lock when its holder ends, however it ends. Imported here because
    # Windows has no fcntl, and what only reads models should load there.
    import fcntl

    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        print(f"process {os.getpid()} on {platform.node()}", file=file, flush=True)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise InputError(
            f"is in use by {holder or 'another run'}",
            where=str(path.parent),
            hint="wait for it, or give another folder",
        ) from None
    except OSError:
        file.close()
        raise
    return file
