import re

from detq_deploy.lint.rules import RULES
from tests.docs.pages import ROOT

TEXT = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ANSWERS = re.findall(r"^- \*\*(\d+)\*\* \*(.+?)\* \((.+?)\)\. (.+)$", TEXT, re.MULTILINE)


def test_forty_complaints_have_an_answer_and_a_source() -> None:
    assert sorted(int(number) for number, *_ in ANSWERS) == list(range(1, 41))
    for number, _, source, answer in ANSWERS:
        assert "](https://github.com/" in source, number
        assert len(answer) > 30, number


def test_the_rules_of_lint_that_are_named_are_there() -> None:
    named = [word for found in re.findall(r"lint ((?:`[\w-]+`(?:, )?)+)", TEXT)
             for word in re.findall(r"`([\w-]+)`", found)]  # fmt: skip
    assert len(named) >= 12
    assert set(named) <= {rule.name for rule in RULES}
