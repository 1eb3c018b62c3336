from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from detq_eval.report.charts import Column, columns, dumbbell, height_of, histogram, whisker


def drawn(chart: Markup, tag: str) -> list[dict[str, str]]:
    """Attributes of every element; the parser refuses what is not well formed."""
    return [element.attrib for element in ElementTree.fromstring(chart).iter(tag)]


def titles(chart: Markup) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(chart).iter("title")]


@pytest.mark.parametrize(
    ("other", "kind", "place"), [(0.2, "loss", "40%"), (0.4, "gain", "80%"), (0.9, "gain", "100%")]
)
def test_two_values_on_a_line(other: float, kind: str, place: str) -> None:
    chart = dumbbell(0.3, other, 0.5, "a < b")
    ring, dot = drawn(chart, "circle")
    assert (ring["class"], ring["cx"]) == ("float", "60%")
    assert (dot["class"], dot["cx"]) == ("int8", place)
    _, join = drawn(chart, "line")
    assert (join["class"], join["x1"], join["x2"]) == (kind, "60%", place)
    assert titles(chart) == ["a < b"]


def test_nothing_is_largest() -> None:
    assert {circle["cx"] for circle in drawn(dumbbell(0.0, 0.0, 0.0, ""), "circle")} == {"0%"}


def test_a_bar_with_its_spread() -> None:
    chart = whisker(4.0, 3.0, 6.0, 8.0, "int8", "x")
    (bar,) = drawn(chart, "rect")
    assert (bar["class"], bar["width"]) == ("int8", "50%")
    span, low, high = drawn(chart, "line")
    assert (span["x1"], span["x2"]) == ("37.50%", "75%")
    assert (low["x1"], high["x1"]) == ("37.50%", "75%")


@pytest.mark.parametrize(
    ("value", "y"), [(0, 198), (30, 103), (60, 8), (99, 8), (-5, 198), (float("inf"), 8)]
)
def test_height_of_a_value(value: float, y: float) -> None:
    assert height_of(value, 60) == pytest.approx(y, abs=1e-9)


def test_columns_side_by_side() -> None:
    items = [
        Column("a", "first", 30, 60),
        Column("b", "second", None, kind="float"),
        Column("<c>", "third", 15, None, "float"),
        Column("d", "fourth", 0),
    ]
    chart = columns(items, 60, (0, 30, 60), "dB", ["neck", "neck", "head", "head"])
    bars = [rect for rect in drawn(chart, "rect") if rect["class"].startswith("bar")]
    assert [(bar["class"], bar["x"], bar["width"], bar["height"]) for bar in bars] == [
        ("bar int8", "3.75%", "17.50%", "95.0"),
        ("bar float", "53.75%", "17.50%", "47.5"),
        ("bar int8", "78.75%", "17.50%", "0.0"),
    ]
    (dot,) = drawn(chart, "circle")
    assert (dot["cx"], dot["cy"]) == ("12.50%", "8.0")
    assert titles(chart) == ["a\nfirst", "b\nsecond", "<c>\nthird", "d\nfourth"]
    texts = [(e.text, e.attrib["x"]) for e in ElementTree.fromstring(chart).iter("text")]
    assert texts == [
        ("0", "30"), ("30", "30"), ("60", "30"), ("dB", "30"), ("neck", "25%"), ("head", "75%"),
    ]  # fmt: skip
    assert [line["x1"] for line in drawn(chart, "line") if line["class"] == "edge"] == ["50%"]


def test_parts_too_narrow_for_a_name_have_none() -> None:
    items = [Column(str(n), "", 1.0) for n in range(20)]
    chart = columns(items, 2, (), "", ["a"] * 19 + ["b"])
    names = [e.text for e in ElementTree.fromstring(chart).iter("text") if e.text]
    assert names == ["a"]


def test_no_columns() -> None:
    assert drawn(columns([], 60, (0,), "dB", []), "rect") == []


def test_a_histogram_with_its_range() -> None:
    chart = histogram([-1, 0, 1, 2, 3], [0, 3, 0, 1], -1, 2, "told")
    shade, first, last = drawn(chart, "rect")
    assert (shade["class"], shade["x"], shade["width"]) == ("range", "0.0", "225.0")
    assert (first["x"], first["width"], first["y"], first["height"]) == (
        "75.0", "75.0", "4.0", "92.0",
    )  # fmt: skip
    assert (last["x"], last["height"]) == ("225.0", "46.0")  # log 2 is half of log 4
    assert [line["x1"] for line in drawn(chart, "line")] == ["0.0", "225.0"]
    texts = [(e.text, e.attrib["text-anchor"]) for e in ElementTree.fromstring(chart).iter("text")]
    assert texts == [("−1", "start"), ("2", "middle")]


def test_a_histogram_of_nothing() -> None:
    chart = histogram([0.0], [], 0, 0, "")
    assert [rect["class"] for rect in drawn(chart, "rect")] == ["range"]
