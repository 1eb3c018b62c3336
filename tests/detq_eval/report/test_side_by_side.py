import msgspec

from detq_eval.report.records import Manifest
from detq_eval.report.side_by_side import compared
from tests.detq_eval.report.made_runs import HOSTILE, least, whole


def test_figures_in_columns_with_dashes_where_there_are_none() -> None:
    found = compared([whole(), least()])
    assert found.names == [HOSTILE, "least"]
    rows = dict(found.rows)
    assert rows["AP, INT8"] == ["37.50", "–"]
    assert rows["change"] == ["−2.50", "–"]
    assert rows["AP small, float → INT8"] == ["– → –", "–"]
    assert rows["times as fast as float"] == ["2.00 (1.90 to 2.10)", "–"]
    assert rows["INT8 layers"] == ["9 of 10", "9 of 10"]
    assert rows["INT8 file"] == ["1.0 MB", "–"]
    assert found.warnings == [(HOSTILE, ("few images", HOSTILE))]


def test_choices_that_differ_and_no_others() -> None:
    recipes = [
        {"size": [320, 320], "range": {"method": "minmax"}, "float_layers": {}},
        {"size": [320, 320], "range": {"method": "percentile", "percent": 99.9}},
    ]
    runs = [
        msgspec.structs.replace(least(), manifest=Manifest({"detq": "1"}, "Linux", recipe))
        for recipe in recipes
    ]
    assert compared(runs).choices == [
        ("range.method", ["minmax", "percentile"]),
        ("float_layers", ["{}", "–"]),
        ("range.percent", ["–", "99.9"]),
    ]
    assert compared(runs[:1]).choices == []
