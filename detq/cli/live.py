"""A table that changes while tasks run; plain lines where nobody watches."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from detq.cli.output import Output

if TYPE_CHECKING:
    from rich.table import Table

    from detq.tasks.drive import Event


class LiveTable:
    """State and figures of every cell on standard error.

    Args:
        cells: names, in order.
        results: figures of those that are done already.
        out: quiet shows nothing.
    """

    def __init__(self, cells: Iterable[str], results: Mapping[str, Any], out: Output) -> None:
        from rich.console import Console
        from rich.live import Live

        self._cells = tuple(cells)
        self._states = {name: "kept" if name in results else "waiting" for name in self._cells}
        self._told = dict.fromkeys(self._cells, "")
        self._out = out
        console = Console(stderr=True)
        shown = console.is_terminal and not out.quiet
        self._live = Live(self._table(results), console=console, transient=True) if shown else None

    def tell(self, event: "Event", results: Mapping[str, Any]) -> None:
        """Something happened to a cell."""
        self._states[event.task], self._told[event.task] = event.state, event.told
        if self._live is not None:
            self._live.update(self._table(results))
        elif not self._out.quiet:
            self._out.note(f"{event.task}: {event.state}{f', {event.told}' * bool(event.told)}")

    def _table(self, results: Mapping[str, Any]) -> "Table":
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in ("cell", "state", "AP", ""):
            table.add_column(column, overflow="fold")
        for name in self._cells:
            figures = results.get(name) or {}
            aps = [
                f"{place} {100 * found['AP']:.2f}"
                for place, found in figures.get("accuracy", {}).items()
            ]
            table.add_row(name, self._states[name], ", ".join(aps), self._told[name])
        return table

    def __enter__(self) -> "LiveTable":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the screen to others."""
        if self._live is not None:
            self._live.stop()
