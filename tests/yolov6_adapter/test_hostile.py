import os
import subprocess
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from detq.errors import CheckpointError, DetqError
from tests.pickles import (
    LEGACY,
    SYSTEM,
    call,
    dict_of,
    module,
    named,
    number,
    storage,
    tensor,
    text,
    tuple_of,
    write_zip,
)
from yolov6_adapter import read_checkpoint

BROKEN = {
    "builtins_eval": "'builtins.eval'",
    "dotted_global": "'torch.os.system'",
    "empty": "is empty",
    "getattr_globals": "'__globals__', where only a module's forward_fuse is expected",
    "missing_storage": "the record best_ckpt/data/75 is missing",
    "nan_weight": "NaN or infinity in model.backbone.ERBlock_3.0.block.conv.weight",
    "os_system": "'os.system'",
    "os_system_legacy": "'posix.system'",
    "plain_zip": "is a zip file, but not one that torch wrote",
    "short_storage": "storage 49 holds 768 bytes instead of 2304",
    "truncated_pickle": "is damaged: its pickle ends early or makes no sense",
    "truncated_zip": "is a zip file that is cut short or damaged",
    "yolov5_like": "'models.yolo.Model'",
}
CONV = "torch.nn.modules.conv.Conv2d"


@contextmanager
def refused(text_in_error: str) -> Iterator[None]:
    """One line with this text, in 5 seconds of one core."""
    start = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        yield
    assert time.process_time() - start < 5
    assert text_in_error in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_file_is_one_line_and_runs_nothing(
    data: Path, name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ran: list[object] = []
    for owner, function in ((os, "system"), (subprocess, "Popen")):
        monkeypatch.setattr(owner, function, lambda *command, **_: ran.append(command))
    with refused(BROKEN[name]):
        read_checkpoint(data / "fixtures" / "broken" / f"{name}.pt")
    assert not ran
    assert capfd.readouterr() == ("", "")


def test_no_broken_file_is_left_out(data: Path) -> None:
    assert sorted(path.stem for path in (data / "fixtures" / "broken").iterdir()) == sorted(BROKEN)


def test_a_planted_command_leaves_no_trace(tmp_path: Path) -> None:
    # The same file does run its command in Python's own unpickler.
    import pickle

    trace = tmp_path / "trace"
    command = call(f"{os.name}.system", text(f"touch {trace}"))
    path = write_zip(tmp_path / "x.pt", dict_of({"model": command}))
    with refused(f"'{os.name}.system'"):
        read_checkpoint(path)
    assert not trace.exists()
    pickle.loads(b"\x80\x02" + command + b".")
    assert trace.exists()


HOSTILE = {
    "memo of 2 thousand million": (b"}r\xff\xff\xff\x7f0" + dict_of({}), "holds no whole model"),
    "a key that takes hours to hash": (b"})" + b"2\x86" * 60 + b"Ns", "opcode DUP"),
    "the same through the memo": (
        b"})" + b"".join(b"q\x01h\x01\x86" for _ in range(60)) + b"Ns",
        "a key is neither text nor a number",
    ),
    "a million lists": (b"]" * 1_000_001, "more than 1000000 pickle operations"),
    "a text of 2^62 bytes": (b"\x8d" + (2**62).to_bytes(8, "little") + b"x", "ends early"),
    "an integer of 100 bits": (number(2**100), "more than 64 bits"),
    "a class that is called": (call(CONV, number(1)), f"calls {CONV}"),
    "an instance that is called": (module(CONV) + b")R", "calls an object"),
    "a function with a new default": (
        named("torch._utils._rebuild_tensor_v2") + dict_of({"__defaults__": b")"}) + b"b",
        "sets the state of something that has none",
    ),
    "an object of a function": (named("builtins.getattr") + b")\x81", "not a module"),
    "a copy of a long text": (
        call("_codecs.encode", text("x" * 1000), text("latin1")),
        "not a number's bytes",
    ),
    "another encoding": (call("_codecs.encode", text("x"), text("hex")), "_codecs.encode"),
    "a class of another package": (module("ultralytics.nn.tasks.DetectionModel"), "'ultralytics."),
    "a class behind a dot": (
        b"\x8c\x07yolov6.\x8c\x09os.system\x93",
        "'yolov6..os.system'",
    ),
    "a name of a megabyte": (named("a." + "x" * 1_000_000), "'a.xxx"),
    "a file of its own": (tuple_of(text("file"), text("/etc/passwd")) + b"Q", "unknown kind"),
    "a storage with a long name": (storage("x" * 1000, 1), "a storage has no proper name"),
    "a module with a strange name": (
        dict_of({"model": module("yolov6.models.yolo.Model", {"a\x1b[2J": b"N"})}),
        "has no proper name",
    ),
    "a storage of -1": (storage("0", -1), "described in two ways"),
    "one storage, two sizes": (b"(" + storage("0", 1) + storage("0", 2) + b"t", "two ways"),
    "a shape beyond its storage": (tensor("0", (4,), count=3), "[4] that lies outside the 3"),
    "an offset beyond its storage": (tensor("0", (1,), count=3, offset=3), "outside the 3"),
    "a stride beyond its storage": (tensor("0", (2,), count=3, stride=(3,)), "outside the 3"),
    "a stride of 0": (tensor("0", (9, 9), count=3, stride=(0, 0)), "outside the 3"),
    "a negative stride": (tensor("0", (2,), count=3, stride=(-1,)), "else than whole numbers"),
    "9 dimensions": (tensor("0", (1,) * 9), "no list of numbers"),
    "2^63 elements": (tensor("0", (2**31, 2**31, 2), count=1), "outside the 1"),
    "big endian": (
        call("numpy.dtype", text("f8")) + tuple_of(number(3), text(">")) + b"b",
        "little endian",
    ),
    "an object array": (call("numpy.dtype", text("O8")), "'O8', which is not a number type"),
    "no end": (b"(" * 100 + b"]", "holds no whole model"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_each_trick_is_refused_by_name(tmp_path: Path, name: str) -> None:
    pickled, error = HOSTILE[name]
    with refused(error):
        read_checkpoint(write_zip(tmp_path / "x.pt", pickled))


@pytest.mark.parametrize("name", ["memo of 2 thousand million", "a text of 2^62 bytes"])
def test_what_is_claimed_is_not_reserved(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "x.pt", HOSTILE[name][0])
    with little_memory(), pytest.raises(CheckpointError):
        read_checkpoint(path)


def model(
    children: dict[str, bytes] | None = None, arrays: dict[str, bytes] | None = None
) -> bytes:
    return dict_of({"model": module("yolov6.models.yolo.Model", children, arrays)})


def test_a_module_inside_itself_is_refused(tmp_path: Path) -> None:
    inside = module(CONV, {"again": b"h\x07"}).replace(b")\x81", b")\x81q\x07", 1)
    with refused("model.a.again is also elsewhere"):
        read_checkpoint(write_zip(tmp_path / "x.pt", model({"a": inside})))


def test_modules_that_double_at_every_level_are_refused(tmp_path: Path) -> None:
    # 2^20 layers from 20 records.
    inside = module(CONV, arrays={"weight": tensor("0", (1,))})
    for level in range(20):
        memo = bytes([level])
        inside = module(CONV, {"a": inside + b"q" + memo, "b": b"h" + memo})
    path = write_zip(tmp_path / "x.pt", model({"x": inside}), {"0": np.ones(1, np.float32)})
    with refused("is also elsewhere"):
        read_checkpoint(path)


def test_a_large_module_that_is_shared_is_refused(tmp_path: Path) -> None:
    large = module(CONV, attributes={f"a{i}": b"N" for i in range(10_000)})
    children = {"x": large + b"q\x07"} | {f"b{i}": b"h\x07" for i in range(10_000)}
    with refused("attributes of modules"):
        read_checkpoint(write_zip(tmp_path / "x.pt", model(children)))


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    inside = module(CONV)
    for _ in range(2000):
        inside = module(CONV, {"a": inside})
    with refused("is not a module"):
        read_checkpoint(write_zip(tmp_path / "x.pt", model({"x": inside})))


def test_arrays_cannot_be_more_than_the_file(tmp_path: Path) -> None:
    # One megabyte, read a thousand times.
    arrays = {f"a{i}": tensor("0", (250_000,)) for i in range(1000)}
    path = write_zip(tmp_path / "x.pt", model(arrays=arrays), {"0": np.zeros(250_000, np.float32)})
    with little_memory(), refused("claim more than the file holds"):
        read_checkpoint(path)


def test_a_storage_that_claims_a_terabyte_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.pt", model(arrays={"a": tensor("0", (2**38,))}), {"0": b"1234"})
    with little_memory(), refused("claim more than the file holds"):
        read_checkpoint(path)


def test_infinity_is_refused_where_it_is(tmp_path: Path) -> None:
    for kind, value in (("Float", np.float32("inf")), ("Double", np.float64(1e300))):
        arrays = {"a": tensor("0", (1,), kind=kind)}
        path = write_zip(tmp_path / "x.pt", model(arrays=arrays), {"0": np.array([value])})
        with refused("NaN or infinity in model.a"):
            read_checkpoint(path)


def test_a_compressed_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(100_000_000))
    with little_memory(), refused("compressed record archive/data.pkl"):
        read_checkpoint(path)


def test_a_directory_of_a_million_records_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(b"PK\x03\x04" + b"PK\x01\x02".ljust(46, b"\0") * 100_000)
    with little_memory(), refused("more than 50000 records"):
        read_checkpoint(path)


def test_numbers_of_another_byte_order_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/byteorder", "big")
    with refused("not little endian"):
        read_checkpoint(path)


def test_a_changed_byte_of_a_weight_is_noticed(data: Path, tmp_path: Path) -> None:
    content = bytearray((data / "fixtures" / "v2_n_base.pt").read_bytes())
    with zipfile.ZipFile(data / "fixtures" / "v2_n_base.pt") as archive:
        name = next(n for n in archive.namelist() if n.endswith("/data/0"))
        weights = archive.read(name)
    content[content.index(weights) + 5] ^= 1
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with refused(f"the record {name} cannot be read"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("rest", "error"),
    [
        (b"", "ends early"),
        (SYSTEM.replace(b"\x88", b"\x89"), "not little endian"),
        (SYSTEM + b"\x80\x02}.", "ends early"),
        (SYSTEM + b"\x80\x02}.\x80\x02}.", "list of storages"),
        (SYSTEM + b"\x80\x02}.\x80\x02](X\x01\x00\x00\x000e.", "list of storages"),
    ],
)
def test_the_old_layout_is_checked_too(tmp_path: Path, rest: bytes, error: str) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(LEGACY + rest)
    with refused(error):
        read_checkpoint(path)


def test_an_old_file_that_is_cut_short_is_refused(data: Path, tmp_path: Path) -> None:
    content = (data / "fixtures" / "v1_t_legacy.pt").read_bytes()
    path = tmp_path / "x.pt"
    path.write_bytes(content[:-5000])
    with refused("storage"):
        read_checkpoint(path)


def test_something_else_is_no_torch_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    for content in (b"hello", b"\x80\x04N.", b"\x80\x02}."):
        path.write_bytes(content)
        with refused("is not a torch file"):
            read_checkpoint(path)
    assert issubclass(CheckpointError, DetqError)
