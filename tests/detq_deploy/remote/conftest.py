import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("asyncssh", reason="asyncssh is not installed: pip install 'detq[remote]'")

from detq_deploy.remote.connection import Connection
from detq_deploy.remote.host import host_from
from tests.detq_deploy.trt.conftest import double, version  # noqa: F401
from tests.loopback import SSHD, Device, asyncssh_device, openssh_device


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    """Ctrl-C counts also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(params=["openssh", "asyncssh"])
def device(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Device]:
    if request.param == "openssh" and SSHD is None:
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    server = openssh_device if request.param == "openssh" else asyncssh_device
    with server(tmp_path / "device") as device:
        at_home(device, monkeypatch)
        yield device


def at_home(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(device.user_home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def connection(device: Device) -> Iterator[Connection]:
    with Connection(host_from(device.on)) as connection:
        yield connection


@pytest.fixture
def a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """OpenSSH's where it is installed, for what both servers do alike."""
    server = asyncssh_device if SSHD is None else openssh_device
    with server(tmp_path / "device") as device:
        at_home(device, monkeypatch)
        yield device
