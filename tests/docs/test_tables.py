from pathlib import Path

import pytest

from benchmarks.tables import PAGES, PLACE, RESULTS, filled


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_of_a_page_are_those_of_the_results(page: Path) -> None:
    """If not: python -m benchmarks.tables."""
    text = page.read_text()
    assert PLACE.search(text)
    assert filled(text) == text


def test_every_table_that_was_measured_is_shown() -> None:
    shown = {place[2] for page in PAGES for place in PLACE.finditer(page.read_text())}
    kinds = {name.split(".")[0] for name in shown}
    assert shown == {
        path.stem for path in RESULTS.glob("*.json") if path.stem.split(".")[0] in kinds
    }


def test_a_changed_figure_is_put_right() -> None:
    text = "before\n<!-- table: outliers -->\n| old |\n<!-- end -->\nafter\n"
    found = filled(text)
    assert found.startswith("before\n<!-- table: outliers -->\n| cell | copies |")
    assert found.endswith("<!-- end -->\nafter\n") and "old" not in found
