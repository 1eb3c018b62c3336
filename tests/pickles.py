"""Pickles written opcode by opcode, as torch writes them or as nobody should."""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
SYSTEM = b"\x80\x02}X\r\x00\x00\x00little_endian\x88s."
NN = "torch.nn.modules"


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def number(value: int) -> bytes:
    if abs(value) < 2**31:
        return b"J" + struct.pack("<i", value)
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def named(full: str) -> bytes:
    module, _, name = full.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def call(full: str, *arguments: bytes) -> bytes:
    return named(full) + tuple_of(*arguments) + b"R"


def dict_of(items: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def module(
    kind: str,
    children: Mapping[str, bytes] | None = None,
    arrays: Mapping[str, bytes] | None = None,
    attributes: Mapping[str, bytes] | None = None,
) -> bytes:
    state = {
        **(attributes or {}),
        "_parameters": dict_of(arrays or {}),
        "_buffers": b"}",
        "_modules": dict_of(children or {}),
    }
    return named(kind) + b")\x81" + dict_of(state) + b"b"


def storage(key: str, count: int, kind: str = "Float") -> bytes:
    parts = (text("storage"), named(f"torch.{kind}Storage"), text(key), text("cpu"), number(count))
    return tuple_of(*parts) + b"Q"


def ints(*values: int) -> bytes:
    return tuple_of(*map(number, values))


def tensor(
    key: str,
    size: tuple[int, ...],
    *,
    count: int | None = None,
    stride: tuple[int, ...] | None = None,
    offset: int = 0,
    kind: str = "Float",
) -> bytes:
    steps = [int(np.prod(size[i + 1 :], dtype=object)) for i in range(len(size))]
    whole = int(np.prod(size, dtype=object)) if count is None else count
    return call(
        "torch._utils._rebuild_tensor_v2",
        storage(key, whole, kind),
        number(offset),
        ints(*size),
        ints(*(steps if stride is None else stride)),
        b"\x89",
        call("collections.OrderedDict"),
    )


def write_zip(path: Path, pickled: bytes, records: Mapping[str, Any] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickled + b".")
        archive.writestr("archive/byteorder", "little")
        for key, content in (records or {}).items():
            data = content.tobytes() if isinstance(content, np.ndarray) else content
            archive.writestr(f"archive/data/{key}", data)
    return path
