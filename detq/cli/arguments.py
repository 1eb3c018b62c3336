"""What commands have in common: sizes, and how results are told."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter, Token

from detq.errors import InputError


def _size(kind: Any, tokens: Sequence[Token]) -> tuple[int, int]:
    text = tokens[0].value
    match = re.fullmatch(r"(\d+)(?:[xX](\d+))?", text)
    if match is None:
        raise InputError(
            f"size {text!r} is not a number of pixels", where="--size", hint="give 640 or 384x640"
        )
    height = int(match[1])
    return height, int(match[2] or height)


Size = Annotated[
    tuple[int, int],
    Parameter(converter=_size, n_tokens=1, accepts_keys=False, allow_leading_hyphen=False),
]
"""Pixels of a square, or height x width."""


@Parameter(name="*")
@dataclass(frozen=True)
class Output:
    """How a command tells its result.

    Attributes:
        json: Print the figures as JSON, and nothing else, on standard output.
        quiet: Show no progress.
    """

    json: Annotated[bool, Parameter(negative="")] = False
    quiet: Annotated[bool, Parameter(negative="")] = False

    def tell(self, figures: Any, show: Callable[[], None]) -> None:
        """Either the figures as JSON, or what ``show`` prints for a person."""
        if not self.json:
            show()
            return
        text = msgspec.json.encode(figures, enc_hook=str)
        sys.stdout.write(msgspec.json.format(text, indent=2).decode() + "\n")

    def note(self, text: str) -> None:
        """One line on standard error, between the steps."""
        if not self.quiet:
            print(text, file=sys.stderr)

    @contextmanager
    def progress(self, text: str, total: int) -> Iterator[Callable[[int], None]]:
        """A progress bar on standard error; the block tells it how many are done."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        hidden = self.quiet or not console.is_terminal
        with Progress(*columns, console=console, disable=hidden, transient=True) as bar:
            task = bar.add_task(text, total=total)
            yield lambda done: bar.update(task, completed=done)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output; the first column is words, the others are figures."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # Not cut to 80 columns where the output goes into a file.
    console = Console()
    Console(width=None if console.is_terminal else 160, highlight=False).print(table)
