"""A device on this machine: a real ssh server, a cable that can be cut, programs of our own.

The server is OpenSSH's sshd where it is installed, and asyncssh's, which has SFTP of its own,
where it is not or where a disk shall be full.
"""

import asyncio
import getpass
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import asyncssh

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
PRIVILEGE_SEPARATION = Path("/run/sshd")  # wanted by sshd when root starts it


class _Pair:
    """Both ends of a connection: one done, none goes on; closed when both threads are done."""

    def __init__(self, *ends: socket.socket) -> None:
        self._ends = ends
        self._users = 2
        self._lock = threading.Lock()

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._users -= 1
            if self._users == 0:
                for end in self._ends:
                    end.close()


class Cable:
    """Forwards TCP to a server; ``cut`` ends what goes through it."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._open: list[socket.socket] = []
        self.left: int | None = None  # bytes that still go to the server
        self.sent = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        while self._open:
            with suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)  # and its thread closes it

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        accepting, *_ = self._threads
        accepting.join()  # from here on nothing is added
        self.cut()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._socket.accept()
                there = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                return
            self._open += [here, there]
            for end in (here, there):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(here, there)
            for ends in ((here, there, True), (there, here, False)):
                thread = threading.Thread(target=self._forward, args=(*ends, pair), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _forward(
        self, source: socket.socket, sink: socket.socket, counted: bool, pair: "_Pair"
    ) -> None:
        with pair, suppress(OSError):
            while data := source.recv(1 << 16):
                if counted:
                    self.sent += len(data)
                    if self.left is not None:
                        self.left -= len(data)
                        if self.left < 0:
                            self.left = None
                            self.cut()
                            return
                sink.sendall(data)


class Device:
    """Where ``--on`` can go.

    Attributes:
        home: home folder over there.
        programs: folder that is first on its PATH.
        user_home: home folder here, with ``.ssh``.
        cable: between the two.
    """

    def __init__(self, folder: Path, cable: Cable) -> None:
        self.home, self.programs, self.user_home = (
            folder / "home", folder / "programs", folder / "user",
        )  # fmt: skip
        self.cable = cable

    @property
    def on(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1:{self.cable.port}"

    @property
    def store(self) -> Path:
        return self.home / ".cache" / "detq"

    def program(self, name: str, text: str) -> Path:
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def know(self, key: Path) -> None:
        words = key.read_text().split()
        known = self.user_home / ".ssh" / "known_hosts"
        known.write_text(f"[127.0.0.1]:{self.cable.port} {words[0]} {words[1]}\n")


def keys(folder: Path) -> None:
    ssh = folder / "user" / ".ssh"
    for path in (folder / "home", folder / "programs", ssh):
        path.mkdir(parents=True)
    for path in (folder / "host_key", ssh / "id_ed25519"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(str(path))
        key.write_public_key(f"{path}.pub")
        path.chmod(0o600)
    shutil.copy(ssh / "id_ed25519.pub", folder / "authorized_keys")


def path_there(folder: Path) -> str:
    return f"{folder / 'programs'}:/usr/local/bin:/usr/bin:/bin"


@contextmanager
def openssh_device(folder: Path) -> Iterator[Device]:
    """sshd with a configuration, keys and home of its own."""
    assert SSHD is not None
    keys(folder)
    port = _free_port()
    if os.getuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(exist_ok=True)
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder / 'host_key'}\n"
        f"AuthorizedKeysFile {folder / 'authorized_keys'}\nPidFile none\nUsePAM no\n"
        "StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PrintMotd no\nMaxStartups 100\nSubsystem sftp internal-sftp\n"
        f'SetEnv "HOME={folder / "home"}" "PATH={path_there(folder)}"\n'
    )
    with (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "config"], stderr=log)
    cable = Cable(port)
    try:
        _await_port(port)
        device = Device(folder, cable)
        device.know(folder / "host_key.pub")
        yield device
    finally:
        cable.close()
        server.terminate()
        server.wait()


@contextmanager
def asyncssh_device(
    folder: Path, sftp: type[asyncssh.SFTPServer] | None = None
) -> Iterator[Device]:
    """asyncssh's server in a thread; ``sftp`` is what it does with files."""
    keys(folder)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def answer(process: "asyncssh.SSHServerProcess[bytes]") -> None:
        with subprocess.Popen(
            process.command or "",
            shell=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"HOME": str(folder / "home"), "PATH": path_there(folder)},
        ) as work:
            assert work.stdin is not None
            feed = asyncio.ensure_future(_feed(process, work.stdin))
            try:
                await asyncio.gather(
                    _pump(work.stdout, process.stdout), _pump(work.stderr, process.stderr)
                )
                process.exit(await asyncio.to_thread(work.wait))
                await feed
            finally:
                feed.cancel()
                work.kill()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[str(folder / "host_key")],
            authorized_client_keys=str(folder / "authorized_keys"),
            process_factory=answer,
            sftp_factory=sftp or asyncssh.SFTPServer,
            encoding=None,
        )

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    cable = Cable(server.get_port())
    try:
        device = Device(folder, cable)
        device.know(folder / "host_key.pub")
        yield device
    finally:
        cable.close()
        asyncio.run_coroutine_threadsafe(_ended(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _pump(source: Any, sink: Any) -> None:
    while data := await asyncio.to_thread(source.read1):
        with suppress(OSError, asyncssh.Error):
            sink.write(data)


async def _feed(process: "asyncssh.SSHServerProcess[bytes]", sink: IO[bytes]) -> None:
    """Until the other side ends its input, or is gone."""
    with suppress(OSError, asyncssh.Error):
        while data := await process.stdin.read(1 << 16):
            sink.write(data)
            sink.flush()
    with suppress(OSError):
        sink.close()


async def _ended(server: asyncssh.SSHAcceptor) -> None:
    server.close()
    await server.wait_closed()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _await_port(port: int) -> None:
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on {port}")


def device_python(device: Device) -> None:
    """This interpreter as the device's python3."""
    device.program("python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
