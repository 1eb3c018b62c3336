import platform
import sys

import pytest

from detq import __version__
from detq.errors import TargetError
from detq_deploy.remote.connection import Connection
from detq_deploy.remote.host import host_from
from detq_deploy.remote.survey import Survey, require_python, survey
from tests.detq_deploy.remote.with_tensorrt import install_tensorrt
from tests.loopback import Device


def look_round(device: Device) -> Survey:
    with Connection(host_from(device.on)) as connection:
        return survey(connection)


def test_a_device_with_nothing(a_device: Device) -> None:
    a_device.program("python3", "#!/bin/sh\nexit 127\n")
    found = look_round(a_device)
    assert found.cache == str(a_device.store)
    assert found.arch == platform.machine()
    assert (found.trtexec, found.banner, found.detq_python, found.has_tensorrt) == ("",) * 4


def test_a_device_with_tensorrt(a_device: Device) -> None:
    install_tensorrt(a_device)
    found = look_round(a_device)
    assert found.trtexec == str(a_device.programs / "trtexec")
    assert found.banner == "TensorRT v100300"
    assert found.python_version == platform.python_version()
    assert found.has_tensorrt == "tensorrt"
    assert found.has_numpy
    assert require_python(found, "here") == str(a_device.programs / "python3")


def test_detq_is_found_behind_a_link_in_the_home_folder(a_device: Device) -> None:
    environment = a_device.home / "detq" / ".venv" / "bin"
    environment.mkdir(parents=True)
    (environment / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (environment / "detq").write_text("#!/bin/sh\n")
    for program in ("python", "detq"):
        (environment / program).chmod(0o755)
    local = a_device.home / ".local" / "bin"
    local.mkdir(parents=True)
    (local / "detq").symlink_to(environment / "detq")
    found = look_round(a_device)
    assert found.detq_version == __version__
    assert found.detq_python == str(environment / "python")
    assert require_python(found, "here") == found.detq_python


def test_a_shell_that_answers_nonsense_is_told(a_device: Device) -> None:
    with Connection(host_from(a_device.on)) as connection:
        connection.run = lambda command, *_: type(connection).run(  # type: ignore[method-assign]
            connection, "echo This account is not available >&2; exit 1"
        )
        with pytest.raises(TargetError, match=r"gives no answer: This account is not available"):
            survey(connection)
