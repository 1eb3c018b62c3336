import json
from importlib import metadata

from detq_deploy.backends import BACKENDS
from tests.cli.calls import Detq


def test_engines_with_version_or_remedy(detq: Detq) -> None:
    figures = json.loads(detq("doctor", "--json").done().out)
    assert [engine["name"] for engine in figures["engines"]] == list(BACKENDS)
    for engine in figures["engines"]:
        installed = engine["name"] in {d.metadata["Name"] for d in metadata.distributions()}
        assert bool(engine["version"]) == installed
        assert engine["remedy"] == ("" if installed else f"pip install {engine['name']}")
        assert (engine["saturates"] is None) == (engine["name"] == "torch" or not installed)


def test_a_table_for_people(detq: Detq) -> None:
    text = detq("doctor").done().out
    figures = json.loads(detq("doctor", "--json").done().out)
    assert f"INT8 by {figures['isa']}\n" in text
    for engine in figures["engines"]:
        assert f" {engine['name']} " in text
        assert (engine["version"] or "missing") in text
