"""Command reference from the command line itself: ``python -m tools.reference``.

What stands in ``docs/commands.md`` is what ``--help`` says; a test holds the two together.
"""

import re
from pathlib import Path
from typing import get_args

from detq.cli.app import COMMANDS, build_app
from detq.cli.arguments import TargetName
from detq.whole_file import written_whole

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"

_HEAD = """\
# Commands

Written by `python -m tools.reference` from the command line itself: `detq COMMAND --help` says
the same.

Exit codes: 0 done; 1 a finding (`lint`, a gate that was not passed) or a bug; 2 something in what
was given, told in one line: what, where, remedy. Results go to standard output, progress and
warnings to standard error. Colours are left out where there is no terminal or `NO_COLOR` is set.
The fields of a recipe are explained by `detq config --explain`;
[shells](quickstart.md#shell-completion) complete all of this.

"""


def reference() -> str:
    """The page: every command with its examples and options, in the order of ``--help``."""
    listed = "".join(f"| [`{name}`](#detq-{name}) | {text} |\n" for name, text in COMMANDS.items())
    sections = "\n".join(_section(name) for name in COMMANDS)
    return f"{_HEAD}| command | what it does |\n| --- | --- |\n{listed}\n{sections}"


def _section(name: str) -> str:
    text = build_app(name).generate_docs(output_format="markdown")
    start = text.index(f"## detq {name}\n")
    stop = text.find("\n## ", start + 1)
    section = text[start : stop if stop >= 0 else None]
    section = section.replace("```console", "```text", 1)  # how it is called, not a call
    targets = ", ".join(get_args(TargetName))
    section = section.replace(f"*[choices: {targets}]*", "*[choices: see [targets](targets.md)]*")
    section = re.sub(r"(?:^Example: .*\n\n?)+", _examples, section, flags=re.MULTILINE)
    return section.rstrip() + "\n"


def _examples(found: re.Match[str]) -> str:
    lines = re.findall(r"^Example: (.*)$", found[0], re.MULTILINE)
    return "```sh\n" + "".join(f"{line}\n" for line in lines) + "```\n\n"


if __name__ == "__main__":
    with written_whole(PAGE) as temporary:
        temporary.write_text(reference(), encoding="utf-8")
