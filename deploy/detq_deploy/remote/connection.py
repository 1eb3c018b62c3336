"""One ssh connection: commands that end with it, and what goes wrong told in one line.

asyncssh reads the user's own ``~/.ssh``: configuration, known hosts, keys, agent. It runs in a
thread with an event loop, so that callers stay plain functions.
"""

import asyncio
import shlex
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from detq.errors import DetqError, TargetError, TargetUnavailableError
from detq_deploy.remote.host import Host

if TYPE_CHECKING:
    import asyncssh


class ConnectionLostError(TargetError):
    """It was there and is gone."""


T = TypeVar("T")
OnLine = Callable[[str], None]

PATIENCE_S = 20  # until a host has answered
_ALIVE_S = 10  # between two signs of life; three without an answer end the connection
_GRACE_S = 5  # for a process to end by itself
_LONGEST_LINE = 1 << 20

# The command in a group of processes of its own. Its end of standard input is the connection:
# when that goes, by Ctrl-C here or a cut cable, the whole group is ended. A signal through ssh
# would need a newer server than JetPack 5 has.
_ENDING_WITH_US = """
exec 3<&0
setsid sh -c "$1" </dev/null 3<&- &
work=$!
{ read -r _ <&3; kill -TERM -$work; sleep 3; kill -KILL -$work; } >/dev/null 2>&1 &
watch=$!
exec 3<&-
wait $work
code=$?
kill $watch 2>/dev/null
exit $code
"""


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended.

    Attributes:
        code: exit status; -1 if a signal ended it.
        out: standard output.
        err: the last lines of standard error.
    """

    code: int
    out: str
    err: tuple[str, ...]

    @property
    def last_words(self) -> str:
        """The last line of standard error that is not empty, else the exit status."""
        lines = (line.strip() for line in reversed(self.err))
        return next((line for line in lines if line), f"exit status {self.code}")


class Connection:
    """An open connection; leave it by ``with``.

    Args:
        host: a device.

    Raises:
        TargetUnavailableError: asyncssh is not installed.
        TargetError: the host is unknown, does not answer, or lets nobody in.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        _import_asyncssh()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ssh", daemon=True)
        self._thread.start()
        try:
            self.ssh: asyncssh.SSHClientConnection = self.wait(_connect(host))
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connection; what runs over there ends."""
        with suppress(DetqError):
            self.wait(self._close())
        self._stop()

    async def _close(self) -> None:
        self.ssh.close()
        with suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self.ssh.wait_closed(), _GRACE_S)

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_GRACE_S)
        if not self._thread.is_alive():
            self._loop.close()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the connection's thread; Ctrl-C cancels it and waits for its end.

        Raises:
            TargetError: the connection is gone, or the other side refuses.
        """
        ended = threading.Event()

        async def guarded() -> T:
            try:
                return await work
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(guarded(), self._loop)
        with told_of(self.host):
            try:
                return future.result()
            except KeyboardInterrupt:
                future.cancel()
                ended.wait(2 * _GRACE_S)
                raise

    def run(
        self,
        command: str,
        on_line: OnLine = lambda line: None,
        on_error_line: OnLine = lambda line: None,
    ) -> Completed:
        """Run a shell command there; it ends when the connection does, or on Ctrl-C here.

        Args:
            command: for ``sh``.
            on_line: told every line of its standard output as it comes.
            on_error_line: the same for standard error.

        Raises:
            TargetError: the connection was lost.
        """
        return self.wait(self._run(command, on_line, on_error_line))

    async def _run(self, command: str, on_line: OnLine, on_error_line: OnLine) -> Completed:
        words = ("sh", "-c", _ENDING_WITH_US, "sh", command)
        process = await self.ssh.create_process(
            f"exec {shlex.join(words)}", encoding="utf-8", errors="replace"
        )
        try:
            out, err = await asyncio.gather(
                _each_line(process.stdout, on_line), _each_line(process.stderr, on_error_line)
            )
            await process.wait_closed()
        finally:
            if process.exit_status is None and not self.ssh.is_closed():
                process.stdin.write_eof()
                with suppress(TimeoutError, asyncio.TimeoutError):
                    await asyncio.wait_for(process.wait_closed(), _GRACE_S)
            process.close()
        if process.exit_status is None:
            raise ConnectionResetError("connection lost")
        return Completed(process.exit_status, "".join(out), tuple(err[-20:]))


async def _each_line(stream: "asyncssh.SSHReader[str]", tell: OnLine) -> list[str]:
    lines = []
    while line := await stream.readline():
        lines.append(line)
        tell(line.rstrip("\r\n"))
    return lines


async def _connect(host: Host) -> "asyncssh.SSHClientConnection":
    import asyncssh

    asked: dict[str, Any] = {"username": host.user} if host.user else {}
    if host.port:
        asked["port"] = host.port
    return await asyncssh.connect(
        host.name,
        connect_timeout=PATIENCE_S,
        login_timeout=PATIENCE_S,
        keepalive_interval=_ALIVE_S,
        preferred_auth="publickey",
        **asked,
    )


@contextmanager
def told_of(host: Host) -> Iterator[None]:
    """What ssh and the network raise inside becomes a ``TargetError`` of one line."""
    import asyncssh

    try:
        yield
    except asyncssh.HostKeyNotVerifiable as error:
        raise TargetError(
            "its host key is not the known one, or none is known",
            where=str(host),
            hint=f"open `{host.ssh}` once and compare the key, or take that of `{host.keyscan}` "
            "into ~/.ssh/known_hosts",
        ) from error
    except asyncssh.PermissionDenied as error:
        raise TargetError(
            "lets nobody in with the keys here",
            where=str(host),
            hint=f"`ssh-copy-id` your key, or `ssh-add` it; detq takes no password, and "
            f"`{host.ssh}` must ask for none",
        ) from error
    except asyncssh.SFTPError as error:
        raise TargetError(f"file transfer failed: {error.reason}", where=str(host)) from error
    except (asyncssh.KeyImportError, asyncssh.ConfigParseError) as error:
        raise TargetError(f"~/.ssh cannot be used: {error}", where=str(host)) from error
    except (TimeoutError, asyncio.TimeoutError) as error:
        raise TargetError(
            f"does not answer within {PATIENCE_S} s", where=str(host), hint=_REACHABLE
        ) from error
    except socket.gaierror as error:
        raise TargetError("no such host", where=str(host), hint=_REACHABLE) from error
    except (asyncssh.Error, ConnectionResetError, BrokenPipeError) as error:
        raise ConnectionLostError(
            "the connection was lost",
            where=str(host),
            hint="the same command goes on: files that are there are not sent again",
        ) from error
    except OSError as error:
        why = error.strerror or str(error)
        raise TargetError(f"cannot be reached: {why}", where=str(host), hint=_REACHABLE) from error


_REACHABLE = "is it switched on, and are name and port right?"


def _import_asyncssh() -> None:
    try:
        import asyncssh
    except ImportError as error:
        raise TargetUnavailableError(
            "--on needs asyncssh", hint="pip install 'detq[remote]'"
        ) from error
    asyncssh.set_log_level("CRITICAL")  # what it says comes as an exception too
