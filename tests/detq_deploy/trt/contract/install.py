"""Fetch the bindings of every version and write down what they offer.

``python -m tests.detq_deploy.trt.contract.install`` fills the folder of ``versions.CACHE``: wheels
from PyPI, stand-ins for NVIDIA's libraries (one C file and gcc), and the bindings' own signatures
as ``.pyi`` files, by pybind11-stubgen. What is there already is left as it is.
"""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.detq_deploy.trt.contract.versions import CACHE, LIBRARIES, VERSIONS, Version

SOURCE = Path(__file__).with_name("bindings.c")
TOOLS = CACHE / "tools"
STUBGEN = "pybind11-stubgen==3.0.0"

# What the bindings can do although their signatures do not say it: a logger is taken where a
# capsule is asked for, and what has a length and elements can be looped over.
_UNSAID = (
    ("logger: capsule,", "logger: typing.Any,"),
    ("logger: typing_extensions.CapsuleType,", "logger: typing.Any,"),
    ("\nclass Dims:\n", "\nclass Dims(typing.Sequence[int]):\n"),
)

# In the process of the bindings: what no .pyi file says, the numbers of the enum members.
_ENUMS = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
def enums(holder, prefix=""):
    for name, kind in vars(holder).items():
        if isinstance(kind, type) and kind.__module__.startswith(sys.argv[1]):
            members = getattr(kind, "__members__", None)
            if members is not None:
                yield prefix + name, {key: int(value) for key, value in members.items()}
            elif not prefix:
                yield from enums(kind, f"{name}.")
print(json.dumps(dict(enums(module))))
"""


def main() -> int:
    """Make what is missing.

    Returns:
        0; 1 if a version that has a wheel for this Python could not be had.
    """
    _pip_install(TOOLS, STUBGEN)
    failed = []
    for version in VERSIONS:
        if _is_made(version):
            continue
        if version.newest_python and sys.version_info[:2] > version.newest_python:
            print(f"{version}: NVIDIA has no wheel for Python {sys.version.split()[0]}")
            continue
        if _made(version):
            print(f"{version}: ready")
        else:
            failed.append(version)
    return 1 if failed else 0


def _is_made(version: Version) -> bool:
    made = _mark(version).is_file() and not version.missing
    return made and _mark(version).read_text() == _recipe()


def _mark(version: Version) -> Path:
    return version.stubs / "made-by"


def _recipe() -> str:
    """Changes whenever this file does."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _made(version: Version) -> bool:
    try:
        _make(version)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        print(f"{version}: {error}", file=sys.stderr)
        return False
    return True


def _make(version: Version) -> None:
    if version.package:
        _pip_install(version.site, f"{version.package}=={version.version}")
        _compile(version)
    elif version.not_importable:
        raise FileNotFoundError(f"{version.not_importable}: make setup")
    made = version.folder / "made"
    _run(version, "-m", "pybind11_stubgen", version.module, "-o", str(made), "--ignore-all-errors")
    enums = _run(version, "-c", _ENUMS, version.module)
    shutil.rmtree(version.stubs, ignore_errors=True)
    for stub in sorted((made / version.module).glob("*.pyi")):
        kept = version.stubs / "tensorrt" / stub.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(_parsable(stub.read_text().replace(version.module, "tensorrt")))
    shutil.rmtree(made)
    _mark(version).write_text(_recipe())
    (version.stubs / "enums.json").write_text(enums)  # last: it says that all of it is there


def _parsable(text: str) -> str:
    """``text`` as mypy reads it; a function whose parameters are no Python is loosened."""
    for said, meant in _UNSAID:
        text = text.replace(said, meant)
    lines = text.splitlines()
    while (bad := _bad_line("\n".join(lines))) is not None:
        name = re.match(r"(\s*def \w+)\(", lines[bad])
        assert name is not None, lines[bad]
        lines[bad] = f"{name[1]}(self, *args, **kwargs):"
    return "\n".join(lines) + "\n"


def _bad_line(text: str) -> int | None:
    try:
        ast.parse(text)
    except SyntaxError as error:
        return (error.lineno or 1) - 1
    return None


def environment(version: Version) -> dict[str, str]:
    """In which its bindings can be imported."""
    found = dict(os.environ)
    found["PYTHONPATH"] = f"{TOOLS}:{version.site}" if version.package else str(TOOLS)
    found["LD_LIBRARY_PATH"] = str(version.libraries)
    return found


def _run(version: Version, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        env=environment(version),
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        done.check_returncode()
    return done.stdout


def _compile(version: Version) -> None:
    major = version.version.partition(".")[0]
    version.libraries.mkdir(parents=True, exist_ok=True)
    for name in LIBRARIES[major]:
        soname = f"lib{name}.so.{major}"
        target = str(version.libraries / soname)
        words = ["-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o", target, str(SOURCE)]
        subprocess.run(["gcc", *words], check=True)


def _pip_install(folder: Path, requirement: str) -> None:
    if not folder.is_dir():
        words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([sys.executable, *words, "--target", str(folder), requirement], check=True)


if __name__ == "__main__":
    sys.exit(main())
