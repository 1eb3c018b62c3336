import io

import pytest
from rich.console import Console

from detq.cli.live import LiveTable
from detq.cli.output import Output
from detq.tasks.drive import Event

RESULTS = {"a": {"accuracy": {"plain torch": {"AP": 0.25}}}}


def test_lines_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveTable(["a", "b"], RESULTS, Output()) as table:
        table.tell(Event("b", "running"), RESULTS)
        table.tell(Event("b", "again", "the worker is gone"), RESULTS)
    assert capsys.readouterr().err == "b: running\nb: again, the worker is gone\n"
    with LiveTable(["a"], {}, Output(quiet=True)) as table:
        table.tell(Event("a", "done"), {})
    assert capsys.readouterr().err == ""


def test_the_table_has_state_and_figures_of_every_cell() -> None:
    table = LiveTable(["a", "b"], RESULTS, Output())
    table.tell(Event("b", "again", "the worker is gone"), RESULTS)
    drawn = io.StringIO()
    Console(file=drawn, width=100).print(table._table(RESULTS))
    lines = [line.split() for line in drawn.getvalue().splitlines() if line.strip()]
    assert lines[0] == ["cell", "state", "AP"]
    assert ["a", "kept", "plain", "torch", "25.00"] in lines
    assert ["b", "again", "the", "worker", "is", "gone"] in lines
