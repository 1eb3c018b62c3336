import pytest

from detq.errors import InputError
from detq_deploy.remote.host import Host, host_from


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("jetson", Host("jetson")),
        ("me@orin.local", Host("orin.local", "me")),
        ("me@10.0.0.7:2222", Host("10.0.0.7", "me", 2222)),
        ("[fe80::1%eth0]:22", Host("fe80::1%eth0", "", 22)),
        ("nv@[::1]", Host("::1", "nv")),
    ],
)
def test_a_device_is_read_and_written(text: str, host: Host) -> None:
    assert host_from(text) == host
    assert str(host) == text


@pytest.mark.parametrize(
    "text", ["", "me@", "a b", "host:", "host:0", "host:70000", "a@b@c", "-oProxyCommand=x"]
)
def test_what_is_no_device_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="give user@host"):
        host_from(text)


def test_the_commands_by_hand_can_be_typed() -> None:
    host = host_from("nv@[fe80::1]:2222")
    assert host.ssh == "ssh -p 2222 nv@fe80::1"
    assert host.keyscan == "ssh-keyscan -p 2222 fe80::1"
    assert host_from("jetson").ssh == "ssh jetson"
