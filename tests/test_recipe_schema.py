from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from detq.cli.config import NAMES
from detq.errors import RecipeError
from detq.recipe_file import read_recipe
from detq.recipe_schema import recipe_schema

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
LEAST = "checkpoint: a.pt\nsize: 320\ncalibration: {data: images}\n"

Wrong = Callable[[str], list[str]]


@pytest.fixture(scope="session")
def validator() -> Draft202012Validator:
    schema = recipe_schema(NAMES)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.fixture
def wrong(validator: Draft202012Validator) -> Wrong:
    """Where a recipe breaks the schema."""

    def check(text: str) -> list[str]:
        errors = validator.iter_errors(yaml.safe_load(text))
        return ["$" + "".join(f".{part}" for part in error.absolute_path) for error in errors]

    return check


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_our_own_recipes_fit(wrong: Wrong, config: Path) -> None:
    assert wrong(config.read_text()) == []


GOOD = [
    "",
    "range: {}",
    "range: {method: kl, guard: 99}",
    "learn: []",
    "learn: {method: abc}",
    "learn: [{method: qprep}, {method: abc, scope: stage}]",
    "bench: {}",
    "evaluation: {data: a.json, backends: [openvino]}",
    "targets: [plain, jetpack6.2]",
    'float_layers: {"detect.*": mine}',
    "channel_wise: null",
]

# Line of a recipe → the place where it is wrong.
BAD = {
    "quantise: 1": "$",
    "size: 16": "$.size",
    "size: [320]": "$.size",
    "range: {method: klm}": "$.range",
    "range: {method: minmax, percent: 3}": "$.range",
    "range: {percent: 3}": "$.range",
    "activation_bits: 3": "$.activation_bits",
    "weights: {bits: 9}": "$.weights.bits",
    "learn: {method: abc, steps: 0}": "$.learn",
    "learn: [qprep]": "$.learn",
    "batch: 0": "$.batch",
    'float_layers: {"detect.*": ""}': "$.float_layers.detect.*",
    "evaluation: {confidence: 0.1}": "$.evaluation",
    "evaluation: {data: a.json, iou: 0}": "$.evaluation",
    "checkpoint: ''": "$.checkpoint",
    "targets: []": "$.targets",
    "bench: {rounds: many}": "$.bench",
}


def with_line(line: str) -> str:
    key = line.partition(":")[0]
    kept = [given for given in LEAST.splitlines() if not given.startswith(f"{key}:")]
    return "\n".join([*kept, line]) + "\n"


@pytest.mark.parametrize("line", GOOD)
def test_what_is_read_fits(wrong: Wrong, tmp_path: Path, line: str) -> None:
    (tmp_path / "r.yaml").write_text(with_line(line))
    read_recipe(tmp_path / "r.yaml")
    assert wrong(with_line(line)) == []


@pytest.mark.parametrize("line", BAD)
def test_what_is_refused_does_not(wrong: Wrong, tmp_path: Path, line: str) -> None:
    (tmp_path / "r.yaml").write_text(with_line(line))
    with pytest.raises(RecipeError):
        read_recipe(tmp_path / "r.yaml")
    assert wrong(with_line(line)) == [BAD[line]]


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("targets: [plain, trt10.2]", "$.targets.1"),
        ("evaluation: {data: a.json, backends: [ort]}", "$.evaluation"),
        ("bench: {backend: ort}", "$.bench"),
    ],
)
def test_names_of_targets_and_engines_are_known(wrong: Wrong, line: str, place: str) -> None:
    assert wrong(with_line(line)) == [place]


def test_every_field_is_described(validator: Draft202012Validator) -> None:
    schema: dict[str, Any] = validator.schema
    for section in schema["$defs"].values():
        assert section["description"]
        for name, field in section["properties"].items():
            assert field.get("description") or name == "method", name
