"""The pages people read, as links, headings and commands."""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "deploy/*.md", "eval/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
SHELL = ("", "sh", "bash", "console")

_PROGRAM = re.compile(r"(\S*/)?(detq|python3?|make|pip)$")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def tokens_of(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def links_of(page: Path) -> list[str]:
    """Targets of all links and pictures."""
    inside = [child for token in tokens_of(page) for child in token.children or []]
    return [str(token.attrs[key]) for token in inside for key in ("href", "src")
            if key in token.attrs]  # fmt: skip


def anchors_of(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    tokens = tokens_of(page)
    found: dict[str, int] = {}
    anchors = set()
    for opening, heading in itertools.pairwise(tokens):
        if opening.type != "heading_open":
            continue
        plain = "".join(child.content for child in heading.children or [])
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        anchors.add(f"{slug}-{count}" if count else slug)
    return anchors


def commands_of(page: Path, program: str) -> Iterator[list[str]]:
    """The words behind a program's name, of each call of it in a block of code."""
    for token in tokens_of(page):
        if token.type == "fence" and token.info.strip() in SHELL:
            for line in token.content.replace("\\\n", " ").splitlines():
                yield from _calls(line, program)


def spoken_of(page: Path) -> Iterator[str]:
    """``detq`` commands in the running text."""
    for token in tokens_of(page):
        for child in token.children or []:
            if child.type == "code_inline" and re.match(r"detq [a-z]", child.content):
                yield child.content


def blocks_of(page: Path, language: str) -> list[str]:
    return [token.content for token in tokens_of(page)
            if token.type == "fence" and token.info.strip() == language]  # fmt: skip


def _calls(line: str, program: str) -> Iterator[list[str]]:
    plain = re.sub(r"^source <\((.*)\)$", r"\1", line.strip().removeprefix("$ "))
    try:
        words = shlex.split(plain, comments=True)
    except ValueError:  # not a command but what one printed
        return
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    if words and (found := _PROGRAM.match(words[0])) and found[2] == program:
        cut = next((n for n, word in enumerate(words) if word in (">", "|", "&&", ";")), None)
        yield words[1:cut]
