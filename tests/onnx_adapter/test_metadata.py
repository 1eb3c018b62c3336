import time

import pytest

from detq.errors import InputError, ModelError
from onnx_adapter.layout import find_layout, names_for
from onnx_adapter.metadata import check_task, family_in, literal, names_in, size_in


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{0: 'a', 1: 'b'}", ("a", "b")),
        ("['a', 'b']", ("a", "b")),
        ("{1: 'b', 0: 'a'}", ("a", "b")),
        ("{0: \"it's\", 1: 'two  words', 2: ''}", ("it's", "two words", "class_2")),
        ("{0: 'a', 2: 'c'}", ()),
        ("{'0': 'a'}", ()),
        ("{0: 1}", ()),
        ("a, b", ()),
        ("", ()),
    ],
)
def test_names_are_read_as_python_writes_them(text: str, names: tuple[str, ...]) -> None:
    assert names_in({"names": text}) == names


@pytest.mark.parametrize(
    ("text", "size"),
    [("[640, 384]", (640, 384)), ("320", (320, 320)), ("(32, 64)", (32, 64)), ("[640]", None),
     ("[1.5, 2]", None), ("[True, True]", None), ("any", None)],
)  # fmt: skip
def test_sizes_are_read(text: str, size: tuple[int, int] | None) -> None:
    assert size_in({"imgsz": text}) == size


@pytest.mark.parametrize(
    "text",
    ["__import__('os').getcwd()", "[" * 90_000, "-" * 90_000 + "1", "- " * 9000 + "1",
     "{" * 4, "1" * 200_000, "(" * 3 + "1" + ")" * 3 + "+" * 9, "\0", "'a' * 10**9", "{[]: 1}"],
)  # fmt: skip
def test_a_text_that_is_no_plain_value_is_none(text: str) -> None:
    start = time.process_time()
    assert literal(text) is None
    assert time.process_time() - start < 1


def test_only_detectors_are_taken() -> None:
    check_task({"task": "detect"}, "x")
    check_task({}, "x")
    with pytest.raises(InputError, match=r"^x: is a model for 'segment'"):
        check_task({"task": "segment"}, "x")


def test_a_family_is_a_few_printable_words() -> None:
    assert family_in({"description": "A  detector\n"}, "file") == "A detector"
    assert family_in({"description": "\x1b[31m"}, "file") == "file"
    assert family_in({}, "file") == "file"


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((None, 8400, 85), "rows"),
        ((1, 84, 8400), "channels"),
        ((1, 25200, 85), "rows"),
        ((1, 8400, 8400), "rows"),
    ],
)
def test_the_dimension_with_a_box_for_every_cell_is_found(
    shape: tuple[int | None, ...], layout: str
) -> None:
    assert find_layout(shape, 8400, None, "x") == layout


@pytest.mark.parametrize(
    ("shape", "stated"),
    [
        ((1, 300, 6), None),
        ((1, 84, 8400), "rows"),
        ((1, 8400, 85), "channels"),
        ((1, 8400, 4), None),
        ((8400, 85), None),
        ((1, None, 85), None),
        ((1, 3, 80, 80, 85), None),
    ],
)
def test_what_is_no_box_for_every_cell_is_refused(
    shape: tuple[int | None, ...], stated: str | None
) -> None:
    with pytest.raises(ModelError, match=r"^x: gives \[.*export it with decoded boxes"):
        find_layout(shape, 8400, stated, "x")  # type: ignore[arg-type]


def test_a_stated_layout_decides_where_both_are_possible() -> None:
    assert find_layout((1, 80, 80), 80, "channels", "x") == "channels"


def test_names_are_made_up_by_the_form_of_the_output() -> None:
    assert names_for(7, "rows", (), "x") == ("class_0", "class_1")
    assert names_for(6, "channels", (), "x") == ("class_0", "class_1")
    assert names_for(6, "rows", ("a", "b"), "x") == ("a", "b")
    assert names_for(7, "channels", ("a", "b"), "x") == ("a", "b")


def test_names_that_do_not_fit_are_told() -> None:
    with pytest.raises(InputError, match="has 84 columns for a box, 2 class names need 6 or 7"):
        names_for(84, "channels", ("a", "b"), "x")
    with pytest.raises(InputError, match="has 5 columns for a box"):
        names_for(5, "rows", (), "x")
