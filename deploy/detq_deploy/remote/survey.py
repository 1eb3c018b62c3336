"""What a device has that can build and run engines, asked in one go."""

from collections.abc import Mapping

import msgspec

from detq.errors import TargetError
from detq_deploy.remote.connection import Connection

OLDEST_PYTHON = (3, 8)  # that of JetPack 5

# Plain sh: a device may have nothing else. Nothing is imported that loads an engine.
_ASK = r"""
PATH="$PATH:$HOME/.local/bin:$HOME/.venv/bin:$HOME/detq/.venv/bin:/usr/src/tensorrt/bin"
say() { printf '%s=%s\n' "$1" "$2"; }
say cache "${XDG_CACHE_HOME:-$HOME/.cache}/detq"
say arch "$(uname -m)"
release=/etc/nv_tegra_release
say l4t "$(sed -n 's/^# R\([0-9]*\) .*REVISION: \([0-9.]*\),.*/\1.\2/p' $release 2>/dev/null)"
say module "$(tr -d '\000' < /proc/device-tree/model 2>/dev/null)"
trtexec=$(command -v trtexec) && {
  say trtexec "$trtexec"
  say banner "$("$trtexec" --help 2>&1 | grep -m 1 -o 'TensorRT v[0-9.]*')"
}
ask() { python3 -c "$1" 2>/dev/null; }
say python "$(command -v python3)"
say python_version "$(ask 'import sys; print("%d.%d.%d" % sys.version_info[:3])')"
say has_numpy "$(ask 'import numpy; print(numpy.__version__)')"
say has_tensorrt "$(ask 'from importlib.util import find_spec as f; print(f("tensorrt").name)')"
detq=$(command -v detq) && {
  beside=$(dirname "$(readlink -f "$detq")")
  for python in "$beside/python" "$beside/python3" python3; do
    asked='import detq, detq_deploy; print(detq.__version__)'
    version=$("$python" -c "$asked" 2>/dev/null) || continue
    say detq_python "$(command -v "$python")"
    say detq_version "$version"
    break
  done
}
:
"""


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What was found on a device; a text is empty where there is no such thing.

    Attributes:
        cache: folder for detq's files.
        arch: of its processor.
        l4t: release of Jetson Linux, as ``36.4.3``.
        module: which Jetson or board.
        trtexec: its path.
        banner: what that says of itself, as ``TensorRT v8502``.
        python: path of ``python3``.
        python_version: its version.
        has_numpy: version of NumPy in it.
        has_tensorrt: name of the bindings of TensorRT in it.
        detq_python: interpreter that has detq.
        detq_version: version of that.
    """

    cache: str
    arch: str = ""
    l4t: str = ""
    module: str = ""
    trtexec: str = ""
    banner: str = ""
    python: str = ""
    python_version: str = ""
    has_numpy: str = ""
    has_tensorrt: str = ""
    detq_python: str = ""
    detq_version: str = ""


def survey(connection: Connection) -> Survey:
    """Look round on a device.

    Raises:
        TargetError: its shell cannot be used, or the connection was lost.
    """
    done = connection.run(_ASK)
    facts = dict(line.split("=", 1) for line in done.out.splitlines() if "=" in line)
    if done.code != 0 or "cache" not in facts:
        raise TargetError(
            f"its shell gives no answer: {' '.join(done.err[-1:]).strip()}",
            where=str(connection.host),
            hint=f"does `{connection.host.ssh} uname` work?",
        )
    return msgspec.convert(_known(facts), Survey)


def _known(facts: Mapping[str, str]) -> dict[str, str]:
    return {name: facts[name] for name in Survey.__struct_fields__ if name in facts}


def require_python(found: Survey, where: str) -> str:
    """An interpreter that runs the device runner with TensorRT, or the one that has detq.

    Raises:
        TargetError: it is missing, too old, or lacks something; the remedy is said.
    """
    if found.detq_python:
        return found.detq_python
    if not found.python_version:
        raise TargetError("has no python3", where=where, hint="sudo apt-get install python3")
    version = tuple(int(part) for part in found.python_version.split("."))
    if version < OLDEST_PYTHON:
        raise TargetError(
            f"has Python {found.python_version}",
            where=where,
            hint="the runner needs 3.8 or later, that of JetPack 5 or later",
        )
    missing = [
        package
        for package, here in (
            ("python3-numpy", found.has_numpy),
            ("python3-libnvinfer", found.has_tensorrt),
        )
        if not here
    ]
    if missing:
        raise TargetError(
            f"Python {found.python_version} there has not all that an engine needs",
            where=where,
            hint=f"sudo apt-get install {' '.join(missing)}, or install detq there",
        )
    return found.python
