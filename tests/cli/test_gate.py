import json
from pathlib import Path
from typing import Any

from tests.cli.calls import Detq

FIGURES: dict[str, Any] = {
    "accuracy": {"float torch": {"AP": 0.37}, "plain torch": {"AP": 0.361}},
    "speed": {},
}


def run(folder: Path, figures: dict[str, Any] = FIGURES) -> Path:
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(figures))
    return folder


def test_a_run_that_is_good_enough(detq: Detq, tmp_path: Path) -> None:
    called = detq("gate", run(tmp_path / "run"), "--max-drop", 1, "--min-ap", 0.36).done()
    assert "AP lost, plain in torch" in called.out
    assert "BROKEN" not in called.out


def test_a_run_that_is_not_ends_with_1_and_says_why(detq: Detq, tmp_path: Path) -> None:
    words = [run(tmp_path / "run"), "--max-drop", 0.5, "--min-ap", 0.36]
    called = detq("gate", *words, "--junit", tmp_path / "gate.xml")
    assert (called.code, called.err) == (1, "")
    assert "BROKEN" in called.out and "0.9 points, at most 0.5 allowed" in called.out
    text = (tmp_path / "gate.xml").read_text()
    assert 'name="run" tests="2" failures="1"' in text
    told = json.loads(detq("gate", *words, "--json").out)
    assert (told["passed"], [one["passed"] for one in told["checks"]]) == (False, [False, True])


def test_what_cannot_be_checked(detq: Detq, tmp_path: Path) -> None:
    detq("gate", tmp_path, "--min-ap", 0.3).refused("is no finished run")
    folder = run(tmp_path / "run")
    detq("gate", folder).refused("nothing to check", "--max-drop")
    detq("gate", folder, "--min-ap", 36).refused("--min-ap: 36 is not from 0 to 1")
    detq("gate", folder, "--min-speedup", 2).refused("has no figures of speed", "`bench`")
