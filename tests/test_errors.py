import pickle

import pytest

from detq import errors
from detq.errors import DetqError, InputError, RecipeError, remedy_for_name


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DetqError("no such file"), "no such file"),
        (DetqError("no such file", where="a.pt"), "a.pt: no such file"),
        (DetqError("is empty", hint="give images"), "is empty (give images)"),
        (RecipeError("a\n  b", where="r.yaml: $", hint="c\nd"), "r.yaml: $: a b (c d)"),
    ],
)
def test_is_one_line(error: DetqError, text: str) -> None:
    assert str(error) == text


def test_survives_a_process_boundary() -> None:
    back = pickle.loads(pickle.dumps(RecipeError("what", where="where", hint="hint")))
    assert type(back) is RecipeError
    assert (back.what, back.where, back.hint) == ("what", "where", "hint")


def test_a_users_mistake_is_caught_as_one_class() -> None:
    tree = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert all(issubclass(kind, DetqError) for kind in tree)
    assert issubclass(RecipeError, InputError)
    assert not issubclass(DetqError, AssertionError)


def test_a_misspelt_name_has_a_remedy() -> None:
    assert remedy_for_name("trt10.2", ["plain", "trt10.3"]) == "did you mean `trt10.3`?"
    assert remedy_for_name("xyz", ["plain", "trt10.3"]) == "one of plain, trt10.3"
    assert remedy_for_name("trt", ["plain", "trt8.6", "trt10.3"]) == "one of trt8.6, trt10.3"
