import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.detq_deploy.trt.contract.versions import CACHE, ROOT, Version

pytest.importorskip("mypy", reason="mypy is not installed")

PACKAGE = ROOT / "deploy" / "detq_deploy"

# What is not TensorRT's is checked by make check, and taken as it is here: a version in seconds.
SETTINGS = """[mypy]
python_version = 3.10
namespace_packages = True
explicit_package_bases = True
follow_imports = skip
ignore_missing_imports = True
check_untyped_defs = True
disallow_untyped_defs = True
warn_unused_ignores = False
[mypy-tensorrt.*]
follow_imports = normal
ignore_errors = True
"""


def files_with_tensorrt(package: Path = PACKAGE) -> list[Path]:
    """Modules that import it."""
    return [path for path in package.rglob("*.py") if "import tensorrt as" in path.read_text()]


def checked(version: Version, folder: Path, files: list[Path]) -> str:
    """mypy's complaints about files that use TensorRT, as ``version`` is."""
    settings = folder / "mypy.ini"
    settings.write_text(SETTINGS)
    cache = CACHE / "mypy" / str(version)
    options = ["--config-file", str(settings), "--cache-dir", str(cache), "--no-error-summary"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *map(str, files)],
        env={**os.environ, "MYPYPATH": f"{version.stubs}:{ROOT / 'deploy'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_every_call_exists_in_every_version(version: Version, tmp_path: Path) -> None:
    assert checked(version, tmp_path, files_with_tensorrt()).splitlines() == []


def test_a_call_that_a_version_lacks_is_found(version: Version, tmp_path: Path) -> None:
    file = tmp_path / "built.py"
    file.write_text(
        "def built() -> None:\n"
        "    import tensorrt as trt\n"
        "    config = trt.Builder(trt.Logger()).create_builder_config()\n"
        "    config.no_such_call()\n"
        "    if hasattr(config, 'max_workspace_size'):\n"
        "        config.max_workspace_size = 1\n"
        "    if hasattr(trt.BuilderFlag, 'INT8'):\n"
        "        config.set_flag(trt.BuilderFlag.INT8)\n"
    )
    complaints = checked(version, tmp_path, [file]).splitlines()
    assert len(complaints) == 1
    assert "built.py:4" in complaints[0]
    assert 'has no attribute "no_such_call"' in complaints[0]
