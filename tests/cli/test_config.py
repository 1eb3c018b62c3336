import json
from pathlib import Path

from detq.cli.config import NAMES
from detq.recipe_explained import EXAMPLE, explained_recipe
from detq.recipe_file import read_recipe
from detq.recipe_schema import recipe_schema
from tests.cli.calls import Detq


def test_the_schema_is_json(detq: Detq) -> None:
    shown = json.loads(detq("config", "--schema").done().out)
    assert shown == json.loads(json.dumps(recipe_schema(NAMES)))


def test_the_explained_recipe_is_read_as_it_is_printed(detq: Detq, tmp_path: Path) -> None:
    text = detq("config", "--explain").done().out
    assert text == explained_recipe()
    (tmp_path / "r.yaml").write_text(text)
    assert read_recipe(tmp_path / "r.yaml") == EXAMPLE


def test_a_recipe_is_shown_with_its_defaults(detq: Detq, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("checkpoint: a.pt\nsize: 320\ncalibration: {data: images}\n")
    text = detq("config", path).done().out
    assert f"range: {{method: {_default_range()}" in text
    (tmp_path / "full.yaml").write_text(text)
    assert read_recipe(tmp_path / "full.yaml") == read_recipe(path)
    assert json.loads(detq("config", path, "--json").done().out)["size"] == [320, 320]


def _default_range() -> str:
    return str(type(EXAMPLE.range).__struct_config__.tag)


def test_mistakes(detq: Detq, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    detq("config").refused("nothing to show", "give one of: a recipe, --schema, --explain")
    detq("config", "--schema", "--explain").refused("or too much")
    detq("config", path).refused("r.yaml: cannot be read", "give a YAML file")
    path.write_text("checkpoint: a.pt\nsize: 320\ncalibration: {data: images}\ntarget: [plain]\n")
    detq("config", path).refused("r.yaml: $: ", "unknown field `target`", "`targets`?")
    path.write_text("checkpoint: a\nsize: 320\ncalibration: {data: b}\ntargets: [trt10.2]\n")
    detq("config", path).refused("$.targets: 'trt10.2' is not known", "did you mean `trt10.3`?")
