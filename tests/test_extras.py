import re
import shlex
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from detq import extras as module
from detq.cli.doctor import USES
from detq.extras import extras

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def test_all_extras_of_the_project_are_known_and_have_a_use() -> None:
    text = PYPROJECT.read_text()
    section = text.partition("[project.optional-dependencies]")[2].partition("\n[project.")[0]
    named = re.findall(r"^([\w-]+) = \[", section, re.MULTILINE)
    assert {"quantize", "cpu", "trt-check"} <= set(named)
    assert sorted(USES) == sorted(named)


def test_what_is_installed_needs_no_command() -> None:
    (dev,) = [extra for extra in extras() if extra.name == "dev"]
    assert dev.versions["pytest"] == pytest.__version__
    for extra in extras():
        assert bool(extra.install) == any(not version for version in extra.versions.values())


def test_the_command_installs_just_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [
        "numpy",
        'onnxruntime; extra == "cpu"',
        'none-of-that>=2; extra == "cpu"',
        'other; (sys_platform == "nowhere") and extra == "cpu"',
        'third==1.2; extra == "else"',
    ]
    monkeypatch.setattr(module.metadata, "requires", lambda name: wanted)
    monkeypatch.setattr(module.metadata, "version", lambda name: _version(name))
    found = module._extra("cpu")
    assert found.versions == {"onnxruntime": "9.9", "none-of-that": ""}
    pip, install, *rest = shlex.split(found.install)
    assert (pip, install) == ("pip", "install")
    assert [str(Requirement(text)) for text in rest] == ["none-of-that>=2"]


def _version(name: str) -> str:
    if name != "onnxruntime":
        raise module.metadata.PackageNotFoundError(name)
    return "9.9"
