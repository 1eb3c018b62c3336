"""What the README and the quickstart tell people to type, typed."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from detq.cli.app import main
from tests.docs.pages import ROOT, blocks_of, commands_of, tokens_of
from tests.tiny_dataset import tiny_dataset

pytest.importorskip("torch", reason="the commands quantize")

from tests.tiny_checkpoint import tiny_checkpoint

README = ROOT / "README.md"
QUICKSTART = ROOT / "docs" / "quickstart.md"

# What needs another machine, or a file from one.
ELSEWHERE = ("build orin.onnx", "eval orin.engine")

Type = Callable[[list[str]], str]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a newcomer stands: a checkpoint, a data.yaml, images."""
    tiny_dataset(tmp_path)
    text = (tmp_path / "data.yaml").read_text()
    (tmp_path / "data.yaml").write_text(re.sub(r"^path: .*$", "path: .", text, flags=re.M))
    tiny_checkpoint(tmp_path / "best_ckpt.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def typed(capfd: pytest.CaptureFixture[str]) -> Type:
    def call(words: list[str]) -> str:
        capfd.readouterr()
        code = main(words)
        out, err = capfd.readouterr()
        assert code == 0, err
        return out

    return call


def start() -> list[str]:
    """The lines of the README's section Start."""
    text = README.read_text(encoding="utf-8").partition("\n## Start\n")[2]
    lines = text.partition("```\n")[2].partition("```")[0].splitlines()
    return [line.partition("#")[0].strip() for line in lines]


def smaller(words: list[str]) -> list[str]:
    """The same command for small images."""
    return ["160" if before == "--size" else word
            for before, word in zip(["", *words], words, strict=False)]  # fmt: skip


def test_the_two_commands_of_the_readme_are_the_ones_tested() -> None:
    demo, setup, quantize = start()
    assert (demo, setup) == ("make demo", "make setup")
    assert shlex.split(quantize)[:2] == [".venv/bin/detq", "quantize"]


def test_the_command_for_your_own_checkpoint(desk: Path, typed: Type) -> None:
    words = smaller(shlex.split(start()[2])[1:])
    typed([*words, "--count", "4", "--quiet"])
    made = {path.name for path in (desk / "int8").iterdir()}
    text = README.read_text(encoding="utf-8").partition("The last leaves ")[2]
    said = re.findall(r"`([\w.]+)`", text.partition("in `int8/`")[0])
    targets = [words[n + 1] for n, word in enumerate(words) if word == "--target"]
    assert "model.TARGET.onnx" in said
    wanted = {name for name in said if "TARGET" not in name}
    assert wanted | {f"model.{target}.onnx" for target in targets} <= made


@pytest.mark.slow
def test_the_quickstart_works_from_top_to_bottom(desk: Path, typed: Type) -> None:
    (recipe,) = blocks_of(QUICKSTART, "yaml")
    (desk / "recipe.yaml").write_text(recipe.replace("size: 640", "size: 160"))
    calls = list(commands_of(QUICKSTART, "detq"))
    ran = [words for words in calls if not " ".join(words).startswith(ELSEWHERE)]
    assert len(calls) - len(ran) == len(ELSEWHERE)
    for words in ran:
        assert typed([*smaller(words), *(["--rounds", "1"] if words[0] == "bench" else [])])
    made = {path.name for path in (desk / "int8").iterdir()}
    tables = [child.content for token in tokens_of(QUICKSTART) if token.type == "inline"
              for child in token.children or [] if child.type == "code_inline"]  # fmt: skip
    said = {name for name in tables if re.fullmatch(r"(model\.\w+|float)\.onnx|report\.html", name)}
    assert {"float.onnx", "model.plain.onnx", "report.html"} <= said
    assert said - {"model.onnx"} <= made
    assert (desk / "orin.onnx").is_file()
    assert len(list((desk / "seen").glob("*.jpg"))) == 8


def test_its_install_line_names_extras_that_are_there() -> None:
    (words,) = commands_of(QUICKSTART, "pip")
    assert words == ["install", ".[quantize,cpu]"]
    assert shutil.which("make")
