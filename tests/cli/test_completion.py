import json
import shutil
import subprocess
from pathlib import Path

import pytest

from detq.cli.app import COMMANDS
from tests.cli.calls import Detq

# What was typed so far, and some of what may follow.
TYPED = [
    ("detq quan", ["quantize"]),
    ("detq import", ["import-cache"]),
    ("detq eval m.onnx --back", ["--backend"]),
    ("detq eval m.onnx --backend open", ["openvino"]),
    ("detq quantize a.pt --target trt10.1", ["trt10.13", "trt10.16"]),
    ("detq quantize a.pt --learn bias", ["bias_correction"]),
    ("detq completion z", ["zsh"]),
]


@pytest.fixture(scope="session")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _written("bash", tmp_path_factory)


@pytest.fixture(scope="session")
def fish_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _written("fish", tmp_path_factory)


def _written(shell: str, factory: pytest.TempPathFactory) -> Path:
    from detq.cli.app import build_app

    path = factory.mktemp(shell) / "detq"
    path.write_text(build_app().generate_completion(prog_name="detq", shell=shell))
    return path


def shell_named(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def lines_of(*words: object) -> list[str]:
    command = [str(word) for word in words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split("\n")


@pytest.mark.parametrize(("typed", "follow"), TYPED)
def test_bash_completes(bash_script: Path, typed: str, follow: list[str]) -> None:
    program = """
source "$1"
COMP_WORDS=($2) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
complete -p detq | grep -q -- "-F _detq" || exit 1
_detq
printf '%s\\n' "${COMPREPLY[@]}"
"""
    found = lines_of(shell_named("bash"), "--norc", "-c", program, "bash", bash_script, typed)
    assert sorted(found[:-1]) == sorted(follow)


@pytest.mark.parametrize(("typed", "follow"), TYPED)
def test_fish_completes(fish_script: Path, typed: str, follow: list[str]) -> None:
    program = "source $argv[1]; complete --do-complete $argv[2]"
    found = lines_of(shell_named("fish"), "-c", program, fish_script, typed)
    assert sorted(line.split("\t")[0] for line in found[:-1]) == sorted(follow)


def test_zsh_reads_its_script(detq: Detq, tmp_path: Path) -> None:
    zsh = shell_named("zsh")
    (tmp_path / "detq").write_text(detq("completion", "zsh").done().out)
    program = 'autoload -Uz compinit; compinit -u -D; source "$1"; print $_comps[detq]'
    assert lines_of(zsh, "-fc", program, "zsh", tmp_path / "detq") == ["_cyclopts_detq", ""]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_is_in_the_script(detq: Detq, shell: str) -> None:
    script = detq("completion", shell).done().out
    assert [command for command in COMMANDS if command not in script] == []
    assert json.loads(detq("completion", shell, "--json").done().out)["script"] == script
    assert ("compdef _cyclopts_detq detq\n" in script) == (shell == "zsh")


def test_another_shell(detq: Detq) -> None:
    detq("completion", "bush").refused('"bush"', "bash", "zsh", "fish")
