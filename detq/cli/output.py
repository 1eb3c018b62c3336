"""How commands tell their results: tables for people, JSON for programs, progress for both."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from cyclopts import Parameter

from detq.cli.arguments import Flag


@Parameter(name="*")
@dataclass(frozen=True)
class Output:
    """How a command tells its result.

    Attributes:
        json: Print the figures as JSON, and nothing else, on standard output.
        quiet: Show no progress.
    """

    json: Flag = False
    quiet: Flag = False

    def tell(self, figures: Any, show: Callable[[], None]) -> None:
        """Either the figures as JSON, or what ``show`` prints for a person."""
        if not self.json:
            show()
            return
        text = msgspec.json.encode(figures, enc_hook=str)
        sys.stdout.write(_as_encoded(msgspec.json.format(text, indent=2).decode()) + "\n")

    def note(self, text: str) -> None:
        """One line on standard error, between the steps."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """One line on standard error that is never held back: figures are not what they seem."""
        print(f"warning: {text}", file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, text: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A progress bar on a terminal's standard error; the block tells how many are done.

        Args:
            text: what is being done.
            total: how many there are; None where nobody knows.
        """
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


def _as_encoded(text: str) -> str:
    """JSON with escapes instead of letters where standard output cannot take these."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], text)
    return text


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[str] = ()
) -> None:
    """A table on standard output; the first column and those of ``words`` stand left."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        left = index == 0 or column in words
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    if title:
        print(f"\n{title}")  # rich would fold it to the width of the table
    # Not cut to 80 columns where the output goes into a file.
    console = Console()
    Console(width=None if console.is_terminal else 160, highlight=False).print(table)


def number_of(count: int, noun: str) -> str:
    """``1 class``, ``2 classes``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}{'es' if noun.endswith(('s', 'x')) else 's'}"
