"""Files on a device by their content: sent once, and on from where they were interrupted.

::

    ~/.cache/detq/files/<sha256>/model.onnx    what was sent, whole
    ~/.cache/detq/files/<sha256>/.part         what is on its way
    ~/.cache/detq/jobs/<key>/                  what a command leaves there
"""

import asyncio
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detq.errors import TargetError
from detq.run_dir import file_hash, key_of
from detq.whole_file import told
from detq_deploy.remote.connection import Connection
from detq_deploy.remote.host import Host

if TYPE_CHECKING:
    import asyncssh

OnBytes = Callable[[int, int], None]

_PIECE = 1 << 20
_RESERVE = 1 << 20  # bytes that a disk keeps free


def _nothing(done: int, total: int) -> None: ...


class Store:
    """The folder of a device that detq keeps its files in.

    Args:
        connection: to the device.
        folder: absolute path there.
    """

    def __init__(self, connection: Connection, folder: str) -> None:
        self.connection = connection
        self.folder = folder

    @property
    def host(self) -> Host:
        """Whose folder it is."""
        return self.connection.host

    def text(self, there: str) -> str:
        """What a file over there says; empty where there is none."""
        return self._shell(f"cat {shlex.quote(there)} 2>/dev/null || true")

    def job(self, key: str) -> str:
        """A folder for what a command leaves there, made if it is not there."""
        path = f"{self.folder}/jobs/{key}"
        self._shell(f"mkdir -p {shlex.quote(path)}")
        return path

    def send(self, path: Path, on_bytes: OnBytes = _nothing) -> str:
        """Make sure that a file is there, whole; gives its path there.

        Args:
            path: a file here.
            on_bytes: told how many bytes are there, and of how many.

        Raises:
            InputError: it cannot be read.
            TargetError: the disk there is full, the folder cannot be written, or the
                connection was lost; what is there by then is not sent again.
        """
        digest = file_hash(path)
        folder = f"{self.folder}/files/{digest}"
        there, part = f"{folder}/{path.name}", f"{folder}/.part"
        quoted = shlex.quote(there)
        # Also told apart from a file of the same content under another name.
        found = self._shell(
            f"mkdir -p {shlex.quote(folder)} && "
            f"if [ -f {quoted} ]; then sha256sum < {quoted}; else echo none; fi"
        )
        size = path.stat().st_size
        if found.split()[:1] == [digest]:
            on_bytes(size, size)
            return there
        for _ in range(2):
            self.connection.wait(self._upload(path, size, part, on_bytes))
            if self._digest(part) == digest:
                self._shell(f"mv -f {shlex.quote(part)} {quoted}")
                return there
            self._shell(f"rm -f {shlex.quote(part)}")  # a piece of another file, or damaged
        raise TargetError(f"{path.name} does not arrive whole", where=str(self.connection.host))

    def together(self, paths: Sequence[Path], on_bytes: OnBytes = _nothing) -> list[str]:
        """Send files into one folder, under their own names; gives their paths there."""
        sent = [self.send(path, on_bytes) for path in paths]
        folder = self.job(key_of(sent)[:32])
        links = [f"{folder}/{path.name}" for path in paths]
        self._shell(
            " && ".join(
                f"ln -sf {shlex.quote(there)} {shlex.quote(link)}"
                for there, link in zip(sent, links, strict=True)
            )
        )
        return links

    def fetch(self, there: str, path: Path, on_bytes: OnBytes = _nothing) -> None:
        """Bring a file back; an interrupted one goes on.

        Args:
            there: its path on the device.
            path: where it goes; it appears whole or not at all.
            on_bytes: told how many bytes are here, and of how many.

        Raises:
            InputError: ``path`` cannot be written.
            TargetError: there is no such file, or the connection was lost.
        """
        digest = self._digest(there)
        part = path.with_name(f".part-{digest[:16]}-{path.name}")
        with told(path, "cannot be written", "choose a folder that is writable and has room"):
            path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            self.connection.wait(self._download(there, part, on_bytes))
            if file_hash(part) == digest:
                with told(path, "cannot be written"):
                    part.replace(path)
                return
            part.unlink()
        raise TargetError(f"{there} does not arrive whole", where=str(self.connection.host))

    def _digest(self, there: str) -> str:
        return self._shell(f"sha256sum < {shlex.quote(there)}").split()[0]

    def _shell(self, command: str) -> str:
        done = self.connection.run(command)
        if done.code != 0:
            raise TargetError(
                f"{self.folder} cannot be used: {done.last_words}",
                where=str(self.connection.host),
                hint="make room there, or make the folder writable",
            )
        return done.out

    async def _upload(self, path: Path, size: int, part: str, on_bytes: OnBytes) -> None:
        async with self.connection.ssh.start_sftp_client() as sftp:
            at = await _size(sftp, part)
            # Blocks of a piece arrive in any order, so the last one is sent again.
            at = max(at - 1, 0) // _PIECE * _PIECE if at <= size else 0
            await self._require_room(sftp, path, size - at)
            async with sftp.open(part, "r+b" if at else "wb") as file:
                for piece in _pieces(path, at):
                    await self._write(sftp, file, piece, at, path)
                    at += len(piece)
                    on_bytes(at, size)

    async def _write(
        self,
        sftp: "asyncssh.SFTPClient",
        file: "asyncssh.SFTPClientFile",
        piece: bytes,
        at: int,
        path: Path,
    ) -> None:
        import asyncssh

        try:
            await file.write(piece, at)
        except asyncssh.SFTPError as error:
            # OpenSSH's word for a full disk is the one for any failure.
            if "space" in error.reason or await _free(sftp, self.folder) < len(piece) + _RESERVE:
                raise self._full(path) from error
            raise

    async def _require_room(self, sftp: "asyncssh.SFTPClient", path: Path, needed: int) -> None:
        if await _free(sftp, self.folder) < needed:
            raise self._full(path)

    def _full(self, path: Path) -> TargetError:
        return TargetError(
            f"its disk is too full for {path.name}",
            where=f"{self.connection.host}: {self.folder}",
            hint="make room there, the same command goes on",
        )

    async def _download(self, there: str, part: Path, on_bytes: OnBytes) -> None:
        async with self.connection.ssh.start_sftp_client() as sftp:
            size = await _size(sftp, there)
            at = part.stat().st_size if part.exists() else 0
            at = at if at <= size else 0
            async with sftp.open(there, "rb") as source:
                while piece := bytes(await source.read(_PIECE, at)):  # type: ignore[arg-type]
                    _put(part, piece, at)
                    at += len(piece)
                    on_bytes(at, size)
        if size == 0:
            _put(part, b"", 0)


def _pieces(path: Path, at: int) -> Iterator[bytes]:
    with told(path, "cannot be read"):
        file = path.open("rb")
    with file:
        file.seek(at)
        while True:
            with told(path, "cannot be read"):
                piece = file.read(_PIECE)
            if not piece:
                return
            yield piece


def _put(part: Path, piece: bytes, at: int) -> None:
    with (
        told(part, "cannot be written", "make room, or choose another folder"),
        part.open("r+b" if at else "wb") as file,
    ):
        file.seek(at)
        file.write(piece)


async def _size(sftp: "asyncssh.SFTPClient", path: str) -> int:
    import asyncssh

    try:
        return (await sftp.stat(path)).size or 0
    except asyncssh.SFTPNoSuchFile:
        return 0


async def _free(sftp: "asyncssh.SFTPClient", folder: str) -> int:
    """Bytes free for us there; without limit where the server does not say."""
    import asyncssh

    try:
        found = await asyncio.wait_for(sftp.statvfs(folder), 5)
    except asyncssh.SFTPError:
        return 1 << 62
    return int(found.bavail or 0) * int(found.frsize or 0)
