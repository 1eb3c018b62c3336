from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from detq.errors import InputError
from detq.gate import Check, Limits, check, junit_xml, read_figures

FIGURES: dict[str, Any] = {
    "accuracy": {
        "float torch": {"AP": 0.370},
        "plain torch": {"AP": 0.365, "agreement": {"ap": 0.91}},
        "float openvino": {"AP": 0.370},
        "openvino openvino": {"AP": 0.361, "agreement": {"ap": 0.88}},
    },
    "speed": {
        "timings": {
            "float": {"backend": "openvino", "wall_ms": {"median": 20.0},
                      "speedup": {"median": 1.0}},
            "openvino": {"backend": "openvino", "wall_ms": {"median": 8.0},
                         "speedup": {"median": 2.5}},
        }
    },
}  # fmt: skip

FOREIGN = "run: holds other figures than those of a run of detq (give the folder"


def passed(**limits: float) -> list[bool]:
    return [one.passed for one in check(FIGURES, Limits(**limits), "run")]


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ({"max_drop": 0.5}, [True, False]),  # 0.5 and 0.9 points
        ({"max_drop": 0.9}, [True, True]),
        ({"max_drop": 0.49}, [False, False]),
        ({"min_ap": 0.361}, [True, True]),
        ({"min_ap": 0.362}, [True, False]),
        ({"min_agreement": 0.9}, [True, False]),
        ({"max_latency_ms": 8}, [True]),
        ({"max_latency_ms": 7.9}, [False]),
        ({"min_speedup": 2.5}, [True]),
        ({"min_speedup": 2.6}, [False]),
        ({"max_drop": 0.5, "min_ap": 0.36, "min_speedup": 2}, [True, True, False, True, True]),
    ],
)
def test_every_engine_keeps_every_limit(limits: dict[str, float], wanted: list[bool]) -> None:
    assert passed(**limits) == wanted


def test_a_broken_limit_says_by_how_much() -> None:
    first, second = check(FIGURES, Limits(max_drop=0.6), "run")
    assert (second.what, second.told) == (
        "AP lost, openvino in openvino", "0.9 points, at most 0.6 allowed",
    )  # fmt: skip
    assert first.passed


@pytest.mark.parametrize(
    ("figures", "limits", "words"),
    [
        ({}, {"min_ap": 0.1}, "has no figures of accuracy (add `evaluation` to the recipe)"),
        ({"accuracy": {}}, {"max_drop": 1}, "has no figures of accuracy"),
        ({"speed": {}}, {"min_speedup": 2}, "has no figures of speed (add `bench`"),
        ({"accuracy": {"float torch": {"AP": 1}}}, {"min_ap": 0.1}, "no INT8 model's figures"),
        (
            {"accuracy": {"float torch": {"AP": 1}, "plain torch": {"AP": 1}}},
            {"min_agreement": 0.1},
            "has no agreement",
        ),
        ({"accuracy": 0.9}, {"min_ap": 0.1}, FOREIGN),
        ({"accuracy": {"top1": 0.9}}, {"min_ap": 0.1}, FOREIGN),
        ({"accuracy": {"plain torch": {"AP": 1}}}, {"max_drop": 1}, FOREIGN),
        ({"accuracy": {"plain torch": {"AP": None}}}, {"min_ap": 0.1}, FOREIGN),
        ({"speed": {"fps": 30}}, {"min_speedup": 2}, "has no figures of speed"),
        ({"speed": [30]}, {"min_speedup": 2}, FOREIGN),
    ],
)
def test_what_was_not_measured_is_no_pass(
    figures: dict[str, Any], limits: dict[str, float], words: str
) -> None:
    with pytest.raises(InputError) as caught:
        check(figures, Limits(**limits), "run")
    assert words in str(caught.value)


def test_limits_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="nothing to check"):
        Limits()
    with pytest.raises(InputError, match=r"--min-ap: 36 is not from 0 to 1"):
        Limits(min_ap=36)


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no finished run"):
        read_figures(tmp_path)
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_figures(tmp_path)


def test_junit_has_a_case_for_every_check() -> None:
    checks = [
        Check(what="AP", passed=True, told="0.4, at least 0.3 asked for"),
        Check(what="<AP lost>", passed=False, told='0.9 points, at most "0.6"'),
    ]
    root = ElementTree.fromstring(junit_xml("run", checks))
    assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuites", "2", "1")
    (suite,) = root
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("run", "2", "1")
    assert [case.get("name") for case in suite] == ["AP", "<AP lost>"]
    assert [len(case) for case in suite] == [0, 1]
    assert suite[1][0].get("message") == '0.9 points, at most "0.6"'
