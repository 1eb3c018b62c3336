"""What --help shows is what detq takes."""

import re

import pytest

from detq.cli.app import COMMANDS, build_app
from tests.cli.calls import Detq, words_of

WIDTH = 80  # of the terminal that nothing else is known of


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_stand_on_one_line_and_are_understood(detq: Detq, command: str) -> None:
    text = detq(command, "--help").done().out
    about = text.partition("╭")[0]
    lines = [line.rstrip() for line in about.splitlines() if "Example: " in line]
    assert lines
    for line in lines:
        assert len(line) < WIDTH, line
        assert re.match(r"Example: (source <\()?detq ", line)
        words = words_of(line.removeprefix("Example: "))
        assert words[0] == command
        build_app().parse_args(words, exit_on_error=False, print_error=False)
    # A line that goes on below it was folded, and cannot be copied.
    assert about.count("Example: ") == len(lines)
    after = [about.splitlines()[n + 1] for n, line in enumerate(about.splitlines())
             if "Example: " in line]  # fmt: skip
    assert [line for line in after if line.strip()] == []


def test_the_first_example_of_all(detq: Detq) -> None:
    found = re.search(r"A start: (detq .*)\n", detq("--help").done().out)
    assert found
    build_app().parse_args(words_of(found[1]), exit_on_error=False, print_error=False)
