"""Read a torch file without torch, and without running anything the file asks for.

Three layouts: the zip of torch 1.6 and later, its older form with fewer records, and the
plain run of pickles before that. The result is made of dicts, lists, numbers and the
records of ``inert``; arrays are read when they are asked for.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detq.errors import CheckpointError
from detq.torch_file.inert import PickleError, Storage, Tensor
from detq.torch_file.machine import run
from detq.torch_file.words import TorchWords

# A number chosen by torch and the version of the layout, each as a pickle of its own.
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
ZIP = b"PK\x03\x04"
MOST_RECORDS = 50_000
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    ValueError,
    NotImplementedError,
    RuntimeError,
    EOFError,
)
HINT = "give a checkpoint as the training code saved it"


@dataclass(frozen=True, slots=True)
class TorchFile:
    """A torch file as data.

    Attributes:
        path: the file.
        content: the pickled object.
        read: the bytes of a storage by its key; PickleError where there is none.
        limit: bytes of the whole file; no honest set of arrays is larger.
    """

    path: Path
    content: Any
    read: Callable[[str], bytes]
    limit: int


def read_torch_file(path: Path, packages: Sequence[str]) -> TorchFile:
    """Read the structure of a torch file.

    Args:
        path: the file.
        packages: whose classes it may name.

    Raises:
        CheckpointError: there is no such file, it is damaged, no torch file, or it names
            something that such a checkpoint does not need.
    """
    with told_of(path):
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(len(LEGACY))
        return _read(path, size, start, packages)


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """What is wrong inside becomes one line about the file."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"cannot be read: {error.strerror or error}", where=str(path), hint=HINT
        ) from error
    except PickleError as error:
        raise CheckpointError(str(error), where=str(path), hint=HINT) from error


def is_torch_file(start: bytes) -> bool:
    """Whether a file begins as torch's do, by its first bytes (20 are enough)."""
    return start.startswith((ZIP, LEGACY))


def _read(path: Path, size: int, start: bytes, packages: Sequence[str]) -> TorchFile:
    if not size:
        raise PickleError("is empty")
    if start.startswith(ZIP):
        return _read_zip(path, size, packages)
    if start == LEGACY:
        return _read_legacy(path, packages)
    raise PickleError("is not a torch file")


def array_of(file: TorchFile, tensor: Tensor) -> NDArray[Any]:
    """The numbers of a tensor; bfloat16 becomes float32.

    Raises:
        PickleError: the storage is missing or shorter than it claims.
    """
    storage = tensor.storage
    data = file.read(storage.key)
    wanted = storage.count * storage.kind.dtype.itemsize
    if len(data) < wanted:
        raise PickleError(
            f"is damaged: storage {storage.key} holds {len(data)} bytes instead of {wanted}"
        )
    whole = np.frombuffer(data, storage.kind.dtype, count=storage.count)
    steps = [n * whole.itemsize for n in tensor.stride]
    view = np.lib.stride_tricks.as_strided(
        whole[tensor.offset :], tensor.size, steps, writeable=False
    )
    if not storage.kind.bfloat16:
        return view
    return (view.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _read_zip(path: Path, size: int, packages: Sequence[str]) -> TorchFile:
    if _central_records(path) > MOST_RECORDS:
        raise PickleError(f"has more than {MOST_RECORDS} records")
    try:
        archive = zipfile.ZipFile(path)
    except ZIP_ERRORS as error:
        raise PickleError("is a zip file that is cut short or damaged") from error
    names = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
    if len(names) != 1:
        raise PickleError("is a zip file, but not one that torch wrote")
    top = names[0].removesuffix("data.pkl")
    if f"{top}byteorder" in archive.namelist() and _record(archive, f"{top}byteorder") != b"little":
        raise PickleError("holds numbers that are not little endian")
    content = run(io.BytesIO(_record(archive, names[0])), TorchWords(packages))
    return TorchFile(path, content, lambda key: _record(archive, f"{top}data/{key}"), size)


def _central_records(path: Path) -> int:
    """How many entries the zip directory can have, before it is put into memory."""
    with path.open("rb") as file:
        return sum(part.count(b"PK\x01\x02") for part in iter(lambda: file.read(1 << 20), b""))


def _record(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
            raise PickleError(f"holds the compressed record {name}; torch does not compress")
        return archive.read(name)
    except KeyError:
        raise PickleError(f"is damaged: the record {name} is missing") from None
    except ZIP_ERRORS as error:
        raise PickleError(f"is damaged: the record {name} cannot be read") from error


def _read_legacy(path: Path, packages: Sequence[str]) -> TorchFile:
    data = path.read_bytes()
    stream, words = io.BytesIO(data), TorchWords(packages)
    stream.seek(len(LEGACY))
    system = run(stream, words)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise PickleError("holds numbers that are not little endian")
    content = run(stream, words)
    places = _legacy_places(run(stream, words), words.storages, data, stream.tell())
    return TorchFile(path, content, lambda key: _legacy_record(data, places, key), len(data))


def _legacy_places(
    keys: object, storages: Mapping[str, Storage], data: bytes, place: int
) -> dict[str, slice]:
    """Where the bytes of each storage lie: a count of 8 bytes, then the numbers, in turn."""
    places: dict[str, slice] = {}
    if not isinstance(keys, list):
        raise PickleError("is damaged: its list of storages makes no sense")
    for key in keys:
        if not isinstance(key, str) or key not in storages:
            raise PickleError("is damaged: its list of storages makes no sense")
        count = int.from_bytes(data[place : place + 8], "little", signed=True)
        start, length = place + 8, count * storages[key].kind.dtype.itemsize
        if count != storages[key].count:
            raise PickleError(f"is damaged: storage {key} is cut short or of another size")
        place = start + length
        places[key] = slice(start, place)
    return places


def _legacy_record(data: bytes, places: Mapping[str, slice], key: str) -> bytes:
    if key not in places:
        raise PickleError(f"is damaged: storage {key} is missing")
    return data[places[key]]
