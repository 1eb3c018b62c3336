import os
import signal
import socket
import threading
import time
from pathlib import Path

import asyncssh
import pytest

from detq.errors import TargetError
from detq_deploy.remote.connection import Connection
from detq_deploy.remote.host import host_from
from tests.loopback import Device


def test_lines_come_as_they_are_written_and_the_exit_status_at_the_end(
    connection: Connection,
) -> None:
    seen: list[tuple[str, float]] = []
    done = connection.run(
        "echo one; sleep 0.4; echo two; echo three >&2; exit 7",
        lambda line: seen.append((line, time.monotonic())),
    )
    assert [line for line, _ in seen] == ["one", "two"]
    assert seen[1][1] - seen[0][1] > 0.2
    assert (done.code, done.out, done.err) == (7, "one\ntwo\n", ("three\n",))


def test_a_command_is_taken_as_it_stands(connection: Connection) -> None:
    done = connection.run("""printf '%s|' "it's" '$HOME' 'a  b' "ü"; cat""")
    assert done.out == "it's|$HOME|a  b|ü|"


def test_an_unknown_host_key_is_refused_with_the_remedy(device: Device) -> None:
    (device.user_home / ".ssh" / "known_hosts").unlink()
    with pytest.raises(TargetError) as error, Connection(host_from(device.on)):
        pass
    line = str(error.value)
    assert "\n" not in line
    assert "none is known" in line
    assert f"`ssh -p {device.cable.port} " in line
    assert f"`ssh-keyscan -p {device.cable.port} 127.0.0.1`" in line


def test_another_key_than_the_known_one_is_refused(device: Device, tmp_path: Path) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_public_key(str(tmp_path / "other.pub"))
    device.know(tmp_path / "other.pub")
    with pytest.raises(TargetError, match="is not the known one"), Connection(host_from(device.on)):
        pass


def test_without_a_key_nobody_gets_in_and_no_password_is_asked(device: Device) -> None:
    (device.user_home / ".ssh" / "id_ed25519").unlink()
    with pytest.raises(TargetError, match=r"takes no password"), Connection(host_from(device.on)):
        pass


def test_a_host_of_the_ssh_configuration_will_do(device: Device) -> None:
    name, port = device.on.split("@")[0], device.cable.port
    (device.user_home / ".ssh" / "config").write_text(
        f"Host orin\n  HostName 127.0.0.1\n  Port {port}\n  User {name}\n"
    )
    with Connection(host_from("orin")) as connection:
        assert connection.run("echo in").out == "in\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [("nobody.invalid", "no such host"), ("127.0.0.1:1", "cannot be reached: ")],
)
def test_a_host_that_is_not_there_is_told(text: str, said: str) -> None:
    with pytest.raises(TargetError, match=said), Connection(host_from(text)):
        pass


def test_a_port_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detq_deploy.remote.connection.PATIENCE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        host = host_from(f"127.0.0.1:{mute.getsockname()[1]}")
        with pytest.raises(TargetError, match=r"does not answer|lost"), Connection(host):
            pass


def test_a_cut_connection_is_told_and_ends_the_work_over_there(
    device: Device, connection: Connection
) -> None:
    pid = threading.Event()
    found: list[int] = []

    def heard(line: str) -> None:
        found.append(int(line))
        pid.set()

    def cut() -> None:
        pid.wait(10)
        device.cable.cut()

    threading.Thread(target=cut).start()
    with pytest.raises(TargetError, match=r"the connection was lost \(the same command goes on"):
        connection.run("echo $$; sleep 60 & wait", heard)
    assert _gone(found[0])


def test_ctrl_c_ends_the_work_over_there(connection: Connection) -> None:
    found: list[int] = []

    def heard(line: str) -> None:
        found.append(int(line))
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        connection.run("echo $$; trap '' INT; sleep 60 & wait", heard)
    assert _gone(found[0])
    assert connection.run("echo still there").out == "still there\n"


def _gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
