"""Checkpoints that are damaged in many ways, and a process that reads them under watch.

    python -m tests.torch_file.mutations COUNT SEED FILE...

One line of JSON: how many were refused or read, what else happened, the slowest, the modules
that were imported on the way.
"""

import io
import json
import os
import pickletools
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

SECONDS, BYTES = 5, 10**9
SIZE = (64, 64)
OF_ZIPFILE = ("encodings.cp437",)  # names of records without the mark of UTF-8
NUMBERS = (0, 1, -1, 7, 2**15, 2**31 - 1, -(2**31))
Records = dict[str, bytes]


def mutated(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """A file damaged once or more, and how."""
    if content.startswith(b"PK"):
        kind = rng.choice([*ANY_BYTES, *ANY_PICKLE, *ANY_PICKLE, *ANY_RECORDS])
    else:
        kind = rng.choice([*ANY_BYTES, *ANY_PICKLE])
    if kind in ANY_BYTES:
        return kind, ANY_BYTES[kind](content, rng)
    if not content.startswith(b"PK"):
        return kind, ANY_PICKLE[kind](content, rng)
    records = _unzipped(content)
    if kind in ANY_PICKLE:
        name = next(name for name in records if name.endswith("data.pkl"))
        records[name] = ANY_PICKLE[kind](records[name], rng)
    else:
        ANY_RECORDS[kind](records, rng)
    return kind, _zipped(records)


def flip_bytes(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def leave_out(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.randint(1, 200) :]


def repeat(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    part = content[start : start + rng.randint(1, 500)]
    return content[:start] + part * rng.randint(2, 5) + content[start:]


def swap_opcodes(content: bytes, rng: random.Random) -> bytes:
    changed, places = bytearray(content), [place for _, _, place in _opcodes(content)]
    for _ in range(rng.randint(1, 3)):
        a, b = rng.choice(places), rng.choice(places)
        changed[a], changed[b] = changed[b], changed[a]
    return bytes(changed)


def other_opcode(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    _, _, place = rng.choice(_opcodes(content))
    changed[place] = ord(rng.choice(pickletools.opcodes).code)
    return bytes(changed)


def other_number(content: bytes, rng: random.Random) -> bytes:
    places = [place for name, _, place in _opcodes(content) if name.startswith("BININT")]
    place, number = rng.choice(places), rng.choice(NUMBERS).to_bytes(4, "little", signed=True)
    length = {b"J": 5, b"K": 2, b"M": 3}[content[place : place + 1]]
    return content[:place] + b"J" + number + content[place + length :]


def other_text(content: bytes, rng: random.Random) -> bytes:
    texts = [
        (arg.encode(), place) for name, arg, place in _opcodes(content) if name == "BINUNICODE"
    ]
    old, place = rng.choice(texts)
    new = rng.choice(texts)[0]
    return (
        content[: place + 1]
        + len(new).to_bytes(4, "little")
        + new
        + content[place + 5 + len(old) :]
    )


def other_weights(records: Records, rng: random.Random) -> None:
    name = _weights(records, rng)
    records[name] = rng.choice((rng.randbytes(len(records[name])), b"\xff" * len(records[name])))


def other_length(records: Records, rng: random.Random) -> None:
    name = _weights(records, rng)
    records[name] = rng.choice((b"", records[name][:-1], records[name] * 2, records[name][::2]))


def missing_record(records: Records, rng: random.Random) -> None:
    del records[rng.choice(list(records))]


def swapped_records(records: Records, rng: random.Random) -> None:
    a, b = rng.choice(list(records)), rng.choice(list(records))
    records[a], records[b] = records[b], records[a]


ANY_BYTES: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    f.__name__: f for f in (flip_bytes, cut)
}
ANY_PICKLE: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    f"{f.__name__} in the pickle": f
    for f in (
        *(flip_bytes, cut, leave_out, repeat),
        *(swap_opcodes, other_opcode, other_number, other_text),
    )
}
ANY_RECORDS: Mapping[str, Callable[[Records, random.Random], None]] = {
    f.__name__: f for f in (other_weights, other_length, missing_record, swapped_records)
}


def _weights(records: Records, rng: random.Random) -> str:
    return rng.choice([name for name in records if "/data/" in name])


@cache
def _opcodes(content: bytes) -> list[tuple[str, Any, int]]:
    """Name, argument and place of the first pickles of a stream."""
    stream, found = io.BytesIO(content), []
    for _ in range(3 if content.startswith(b"\x80\x02\x8a") else 1):
        start = stream.tell()
        opcodes = pickletools.genops(content[start:])
        for opcode, argument, place in opcodes:
            found.append((opcode.name, argument, start + (place or 0)))
        stream.seek(found[-1][2] + 1)
    return found


@cache
def _read(content: bytes) -> tuple[tuple[str, bytes], ...]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return tuple((name, archive.read(name)) for name in archive.namelist())


def _unzipped(content: bytes) -> Records:
    return dict(_read(content))


def _zipped(records: Records) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return file.getvalue()


def main() -> None:
    count, seed, *files = sys.argv[1:]
    contents = [Path(file).read_bytes() for file in files]
    rng, outcomes, bad, slowest = random.Random(int(seed)), Counter[str](), [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pt"
        for content in contents:  # whatever is imported for a sound file is imported now
            path.write_bytes(content)
            read(path)
        known = set(sys.modules)
        limit_memory()
        for number in range(int(count)):
            kind, changed = mutated(rng.choice(contents), rng)
            path.write_bytes(changed)
            start = time.process_time()
            outcome = watched(path)
            slowest = max(slowest, time.process_time() - start)
            outcomes[outcome] += 1
            if outcome not in ("read", "refused") or (outcome, kind) == ("read", "cut"):
                bad.append(f"{number} {kind}: {outcome}")
    imported = sorted(name for name in set(sys.modules) - known if name not in OF_ZIPFILE)
    found = {"read": outcomes["read"], "refused": outcomes["refused"], "wrong": bad[:20]}
    print(json.dumps({**found, "slowest": slowest, "imported": imported, "peak": _peak()}))


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _peak() -> str:
    """Most memory of this process, without what it was forked from."""
    status = Path("/proc/self/status").read_text()
    return next(line for line in status.splitlines() if line.startswith("VmHWM"))


def watched(path: Path) -> str:
    """``read``, ``refused``, or what must not happen."""
    from detq.errors import DetqError

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} seconds")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        read(path)
    except DetqError as error:
        one_line = "\n" not in str(error) and len(str(error)) < 500
        return "refused" if one_line else f"a long message: {str(error)[:600]!r}"
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "read"


def read(path: Path) -> None:
    """As a command reads its source; what comes of it must be a sound graph."""
    import onnx
    import onnx_ir as ir

    from detq.cli.sources import read_source
    from detq.graph.layer_shapes import misfits

    model = read_source(path, SIZE).graph
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    assert not list(misfits(model.graph))


if __name__ == "__main__":
    main()
