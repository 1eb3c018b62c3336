import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import numpy as np
import pytest

from detq.errors import InputError, TargetError
from detq_deploy.remote.connection import Connection
from detq_deploy.remote.host import host_from
from detq_deploy.remote.store import Store
from tests.detq_deploy.remote.conftest import at_home
from tests.loopback import Device, asyncssh_device

PIECE = 1 << 18


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detq_deploy.remote.store._PIECE", PIECE)


@pytest.fixture
def store(device: Device, connection: Connection) -> Store:
    return Store(connection, str(device.store))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a model.onnx"
    path.write_bytes(np.random.default_rng(0).bytes(6 * PIECE + 17))
    return path


def place(device: Device, file: Path) -> Path:
    return device.store / "files" / hashlib.sha256(file.read_bytes()).hexdigest() / file.name


def test_a_file_arrives_whole_under_its_name(store: Store, device: Device, file: Path) -> None:
    seen: list[tuple[int, int]] = []
    there = store.send(file, lambda done, total: seen.append((done, total)))
    assert there == str(place(device, file))
    assert Path(there).read_bytes() == file.read_bytes()
    assert os.listdir(Path(there).parent) == [file.name]
    assert seen[-1] == (file.stat().st_size,) * 2
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_what_is_there_is_not_sent_again(store: Store, device: Device, file: Path) -> None:
    store.send(file)
    before = device.cable.sent
    store.send(file)
    assert device.cable.sent - before < 10_000


def test_a_damaged_file_is_sent_again(store: Store, device: Device, file: Path) -> None:
    store.send(file)
    place(device, file).write_bytes(b"damaged")
    assert Path(store.send(file)).read_bytes() == file.read_bytes()


def test_after_a_cut_the_rest_is_sent(device: Device, file: Path) -> None:
    with Connection(host_from(device.on)) as connection:
        device.cable.left = 4 * PIECE + PIECE // 2
        with pytest.raises(TargetError, match="the same command goes on"):
            Store(connection, str(device.store)).send(file)
    assert not place(device, file).exists()
    arrived = (place(device, file).parent / ".part").stat().st_size
    assert arrived >= 3 * PIECE
    before = device.cable.sent
    with Connection(host_from(device.on)) as connection:
        there = Store(connection, str(device.store)).send(file)
    assert Path(there).read_bytes() == file.read_bytes()
    # Blocks on their way when the cable was cut, and the last piece, are sent again.
    assert device.cable.sent - before < file.stat().st_size - arrived + 1.2 * PIECE


def test_a_part_of_something_else_is_not_built_upon(
    store: Store, device: Device, file: Path
) -> None:
    part = place(device, file).parent / ".part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 2 * PIECE)
    assert Path(store.send(file)).read_bytes() == file.read_bytes()


def test_a_file_comes_back_and_an_interrupted_one_goes_on(
    store: Store, device: Device, file: Path, tmp_path: Path
) -> None:
    there, content = device.home / "model.engine", file.read_bytes()
    there.write_bytes(content)
    here = tmp_path / "new" / "model.engine"
    here.parent.mkdir()
    half = here.with_name(f".part-{hashlib.sha256(content).hexdigest()[:16]}-{here.name}")
    half.write_bytes(content[: 2 * PIECE])
    seen: list[int] = []
    store.fetch(str(there), here, lambda done, total: seen.append(done))
    assert here.read_bytes() == content
    assert min(seen) > 2 * PIECE
    assert os.listdir(here.parent) == [here.name]


def test_a_file_that_is_not_there_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"No such file|cannot open"):
        store.fetch("/nowhere/model.engine", tmp_path / "model.engine")
    assert os.listdir(tmp_path) == ["device"]


def test_a_folder_that_cannot_be_written_here_is_told(
    store: Store, device: Device, file: Path, tmp_path: Path
) -> None:
    (device.home / "x").write_bytes(b"x")
    with pytest.raises(InputError, match="cannot be written"):
        store.fetch(str(device.home / "x"), file / "inside")


def test_a_folder_that_cannot_be_used_there_is_told(
    connection: Connection, device: Device, file: Path
) -> None:
    (device.home / "in the way").write_bytes(b"")
    with pytest.raises(TargetError, match=r"cannot be used: .*in the way"):
        Store(connection, f"{device.home}/in the way").send(file)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(path)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_told_before_anything_is_sent(
    small_disk: Path, device: Device, connection: Connection, file: Path
) -> None:
    before = device.cable.sent
    with pytest.raises(TargetError, match=r"its disk is too full for a model\.onnx"):
        Store(connection, str(small_disk)).send(file)
    assert device.cable.sent - before < 20_000


def test_a_disk_that_fills_up_on_the_way_is_told_and_the_file_goes_on(
    small_disk: Path, connection: Connection, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def plenty(sftp: asyncssh.SFTPClient, folder: str) -> int:
        monkeypatch.undo()  # only the look before is deceived
        return 1 << 40

    monkeypatch.setattr("detq_deploy.remote.store._free", plenty)
    store = Store(connection, str(small_disk))
    with pytest.raises(TargetError, match=r"too full .*\(make room there, the same command goes"):
        store.send(file)
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert Path(store.send(file)).read_bytes() == file.read_bytes()


class FullServer(asyncssh.SFTPServer):
    """Its disk takes two pieces."""

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        if offset + len(data) > 2 * PIECE:
            raise asyncssh.SFTPNoSpaceOnFilesystem("No space left on device")
        return super().write(file_obj, offset, data)


def test_a_server_that_knows_the_word_for_a_full_disk_is_understood(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asyncssh_device(tmp_path / "device", FullServer) as device:
        at_home(device, monkeypatch)
        with (
            Connection(host_from(device.on)) as connection,
            pytest.raises(TargetError, match="its disk is too full"),
        ):
            Store(connection, str(device.store)).send(file)
