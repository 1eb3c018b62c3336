import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from detq.cli.app import COMMANDS, build_app
from detq.errors import DetqError
from tests.docs.pages import PAGES, ROOT, commands_of, name_of, spoken_of


def all_commands(program: str) -> list[tuple[str, list[str]]]:
    return [(name_of(page), words) for page in PAGES for words in commands_of(page, program)]


def understood(words: list[str]) -> str:
    """Why the command line would not take this; empty if it would."""
    try:
        build_app().parse_args(words, exit_on_error=False, print_error=False)
    except (CycloptsError, DetqError) as error:
        return str(error)
    return ""


def options_of(command: str) -> set[str]:
    collection = build_app()[command].assemble_argument_collection()
    return {name for argument in collection for name in argument.names} | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_detq_takes_every_command_of_a_page(page: Path) -> None:
    wrong = {" ".join(words): understood(words) for words in commands_of(page, "detq")}
    assert {line: why for line, why in wrong.items() if why} == {}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_the_text_name_what_there_is(page: Path) -> None:
    for text in spoken_of(page):
        _, command, *rest = text.split()
        assert command in COMMANDS, text
        named = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert named <= options_of(command), text


def test_a_wrong_command_is_seen() -> None:
    assert understood(["quantize", "a.pt", "--dat", "b", "--output", "c"])
    assert understood(["lint", "a.onnx", "--target", "trt10.2"])
    assert not understood(["lint", "a.onnx", "--target", "trt10.3"])


def test_there_are_commands() -> None:
    assert len(all_commands("detq")) > 20
    assert {name for name, _ in all_commands("make")} >= {"README.md", "CONTRIBUTING.md"}


def test_make_knows_its_targets() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page, words in all_commands("make"):
        wanted = {word for word in words if "=" not in word}
        assert wanted <= targets, page


def test_modules_of_our_own_are_there() -> None:
    for page, words in all_commands("python"):
        if words[:1] == ["-m"] and words[1].split(".")[0] in ("tools", "benchmarks", "detq"):
            path = ROOT.joinpath(*words[1].split("."))
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), page


def test_extras_that_pip_is_asked_for_are_there() -> None:
    extras = _extras()
    texts: Mapping[str, str] = {name_of(page): page.read_text() for page in PAGES}
    asked = {(page, extra) for page, text in texts.items()
             for found in re.findall(r"(?:detq|\.)\[([\w,-]+)\]", text)
             for extra in found.split(",")}  # fmt: skip
    assert asked
    assert {extra for _, extra in asked} <= extras, asked


def _extras() -> set[str]:
    text = (ROOT / "pyproject.toml").read_text()
    section = text.partition("[project.optional-dependencies]")[2].partition("\n[project.")[0]
    return set(re.findall(r"^([\w-]+) = \[", section, re.MULTILINE))
