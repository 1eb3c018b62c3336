import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detq.errors import RecipeError
from detq.recipe import (
    Abc,
    BiasCorrection,
    Calibration,
    ChannelWise,
    Entropy,
    Evaluation,
    Kl,
    LearnMethod,
    MinMax,
    Mse,
    Percentile,
    QPRep,
    Recipe,
    RepQuant,
    Weights,
)
from detq.recipe_file import read_recipe, recipe_as_json, recipe_as_yaml, resolve_paths

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
LEAST = "checkpoint: a.pt\nsize: 320\ncalibration: {data: images}\n"
FULL = """
checkpoint: ${HERE}/a.pt
size: [192, 320]
calibration: {data: ann.json, images: ../images, count: 8, seed: 3, shrink: 4, batch: 2}
transforms: [fold_bn]
range: {method: kl, divergence: masked}
weights: {method: mse, bits: 6, per_tensor: true}
activation_bits: 5
float_layers: {"detect.*": prediction layers, "*.proj": "1e-3"}
targets: [plain]
batch: 1
evaluation:
  data: /data/data.yaml
  confidence: 1e-3
  iou: 1
  backends: [torch]
  threads: 2
bench: {rounds: 3}
"""


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "r.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_least_recipe_has_the_documented_defaults(written: Any) -> None:
    recipe = read_recipe(written(LEAST))
    assert recipe == Recipe(
        checkpoint=Path("a.pt"),
        size=(320, 320),
        calibration=Calibration(
            data=Path("images"), images=None, count=64, seed=0, shrink=0, batch=8
        ),
        transforms=("reparameterize", "fold_bn"),
        channel_wise=ChannelWise(balance=1.0, least_spread=2.0),
        range=Mse(),
        activation_bits=8,
        weights=Weights(method="minmax", bits=8, per_tensor=False),
        float_layers={},
        targets=("plain", "onnxruntime", "openvino"),
        batch=None,
        evaluation=None,
        bench=None,
    )


def test_every_field_can_be_given(written: Any) -> None:
    recipe = read_recipe(written(FULL))
    assert recipe.size == (192, 320)
    assert recipe.calibration.images == Path("../images")
    assert recipe.range == Kl(divergence="masked", guard=99.9)
    assert recipe.weights == Weights(method="mse", bits=6, per_tensor=True)
    assert recipe.activation_bits == 5
    assert recipe.float_layers == {"detect.*": "prediction layers", "*.proj": "1e-3"}
    assert recipe.evaluation == Evaluation(
        data=Path("/data/data.yaml"), confidence=0.001, iou=1.0, backends=("torch",), threads=2
    )
    assert recipe.bench is not None
    assert (recipe.bench.backend, recipe.bench.rounds) == ("openvino", 3)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{method: minmax}", MinMax()),
        ("{method: percentile}", Percentile(percent=99.99)),
        ("{method: percentile, percent: 100}", Percentile(percent=100.0)),
        ("{method: mse, candidates: 64}", Mse(candidates=64)),
        ("{method: entropy, count_zeros: true}", Entropy(count_zeros=True)),
        ("{method: kl, guard: 99}", Kl(divergence="exact", guard=99.0)),
    ],
)
def test_a_range_method_has_options_of_its_own(written: Any, text: str, wanted: Any) -> None:
    recipe = read_recipe(written(f"{LEAST}range: {text}\n"))
    assert recipe.range == wanted
    assert read_recipe(written(recipe_as_yaml(recipe))) == recipe


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{method: qprep}", (QPRep(),)),
        ("[{method: bias_correction, images: 8}]", (BiasCorrection(images=8),)),
        (
            "[{method: qprep}, {method: abc, rounding: true, steps: 3, tail: quantized}]",
            (QPRep(), Abc(rounding=True, steps=3, tail="quantized")),
        ),
        ("[]", ()),
    ],
)
def test_one_learner_or_several(written: Any, text: str, wanted: tuple[LearnMethod, ...]) -> None:
    recipe = read_recipe(written(f"{LEAST}learn: {text}\n"))
    assert recipe.learn == wanted
    assert read_recipe(written(recipe_as_yaml(recipe))) == recipe


@pytest.mark.parametrize("text", [LEAST, FULL])
def test_yaml_reads_back_the_same(written: Any, text: str) -> None:
    recipe = read_recipe(written(text))
    assert read_recipe(written(recipe_as_yaml(recipe))) == recipe


# What PyYAML writes and reads: no surrogates, no control characters.
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1)


@given(
    layers=st.dictionaries(TEXT, TEXT, max_size=3),
    confidence=st.floats(0, 1, exclude_max=True),
    checkpoint=TEXT.filter(lambda text: str(Path(text)) == text),
)
def test_any_text_and_number_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    layers: dict[str, str],
    confidence: float,
    checkpoint: str,
) -> None:
    recipe = Recipe(
        checkpoint=Path(checkpoint),
        size=(320, 320),
        calibration=Calibration(data=Path("images")),
        float_layers=layers,
        evaluation=Evaluation(data=Path("a.json"), confidence=confidence),
    )
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(recipe_as_yaml(recipe), encoding="utf-8")
    assert read_recipe(path) == recipe


def test_json_is_one_line_with_every_choice(written: Any) -> None:
    text = recipe_as_json(read_recipe(written(FULL)))
    assert "\n" not in text
    found = json.loads(text)
    assert found["checkpoint"] == "${HERE}/a.pt"
    assert found["range"] == {"method": "kl", "divergence": "masked", "guard": 99.9}
    assert set(found) == set(Recipe.__struct_fields__)


def test_an_empty_section_is_the_default(written: Any) -> None:
    for line in ("range: {}", "channel_wise: {}", "weights: {}"):
        assert read_recipe(written(f"{LEAST}{line}\n")) == read_recipe(written(LEAST))


def test_repquant_is_simulated_alone(written: Any) -> None:
    with pytest.raises(RecipeError, match="`repquant` is simulated"):
        read_recipe(written(f"{LEAST}repquant: {{}}\n"))
    recipe = read_recipe(written(f"{LEAST}repquant: {{}}\ntargets: [plain]\n"))
    assert recipe.repquant == RepQuant()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("targts: [plain]", "$: Object contains unknown field `targts` (did you mean `targets`?)"),
        (
            "range: {method: minmax, percentle: 99.9}",
            "$.range: Object contains unknown field `percentle` (one of method)",
        ),
        (
            "range: {method: minmx}",
            "$.range.method: Invalid value 'minmx' (did you mean `minmax`?)",
        ),
        (
            "range: {method: percentile, percnt: 99}",
            "$.range: Object contains unknown field `percnt` (did you mean `percent`?)",
        ),
        (
            "range: {method: entropy, percent: 99}",
            "$.range: Object contains unknown field `percent` (one of method, count_zeros)",
        ),
        (
            "range: {method: kl, divergence: exat}",
            "$.range.divergence: Invalid enum value 'exat' (did you mean `exact`?)",
        ),
        ("range: {method: percentile, percent: 0}", "$.range.percent: Expected `float` > 0.0"),
        ("range: {method: kl, guard: 101}", "$.range.guard: Expected `float` <= 100.0"),
        ("range: {method: mse, candidates: 2}", "$.range.candidates: Expected `int` >= 8"),
        ("range: {percent: 99}", "$.range: Object missing required field `method`"),
        (
            "weights: {method: ms}",
            "$.weights.method: Invalid enum value 'ms' (did you mean `mse`?)",
        ),
        ("weights: {bits: 3}", "$.weights.bits: Expected `int` >= 4"),
        ("activation_bits: 9", "$.activation_bits: Expected `int` <= 8"),
        ("activation_bits: 6", "$: fewer than 8 bits are simulated, for `targets: [plain]` alone"),
        ("weights: {bits: 6}", "$: fewer than 8 bits are simulated, for `targets: [plain]` alone"),
        (
            "bench: {thread: 2}",
            "$.bench: Object contains unknown field `thread` (did you mean `threads`?)",
        ),
        (
            "bench: {speed: 2}",
            "$.bench: Object contains unknown field `speed` (one of backend, rounds, threads)",
        ),
        (
            "transforms: [fold_bn, reparametrize]",
            "$.transforms[1]: Invalid enum value 'reparametrize' (did you mean `reparameterize`?)",
        ),
        ("batch: 0", "$.batch: Expected `int` >= 1"),
        ("batch: true", "$.batch: Expected `int | null`, got `bool`"),
        ("targets: []", "$.targets: Expected `array` of length >= 1"),
        ("float_layers: {detect: ''}", "$.float_layers[...]: Expected `str` of length >= 1"),
        ("evaluation: {data: a, confidence: 1}", "$.evaluation.confidence: Expected `float` < 1.0"),
        ("evaluation: {data: a, iou: .nan}", "$.evaluation.iou: Expected `float`"),
        ("evaluation: {}", "$.evaluation: Object missing required field `data`"),
        ("evaluation: {data: ''}", "$.evaluation.data: Expected a path"),
        ("evaluation: {data: 3}", "$.evaluation.data: Expected a path"),
        ("evaluation: {data: a, shrink: 320}", "$: `shrink` leaves nothing of `size`"),
        ("learn: {method: ab}", "$.learn[0].method: Invalid value 'ab' (did you mean `abc`?)"),
        (
            "learn: [{method: qprep}, {method: abc, step: 3}]",
            "$.learn[1]: Object contains unknown field `step` (did you mean `steps`?)",
        ),
        (
            "learn: {method: qprep, steps: 3}",
            "$.learn[0]: Object contains unknown field `steps` (one of method, images, ",
        ),
        (
            "learn: {method: abc, metric: mad}",
            "$.learn[0].metric: Invalid enum value 'mad' (did you mean `mae`?)",
        ),
        ("learn: {method: abc, steps: 0}", "$.learn[0].steps: Expected `int` >= 1"),
        ("learn: abc", "$.learn: Expected `array`, got `str`"),
    ],
)
def test_a_slip_is_told_with_its_place(written: Any, line: str, message: str) -> None:
    path = written(f"{LEAST}{line}\n")
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("size", "place"),
    [("31", "$.size[0]"), ("[320, 0]", "$.size[1]"), ("[320]", "$.size"), ("big", "$.size")],
)
def test_a_size_that_no_network_has(written: Any, size: str, place: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(f"{place}: Expected")):
        read_recipe(written(LEAST.replace("320", size)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a mapping"),
        ("[a]", "is not a mapping"),
        ("a: [", "is not YAML: .* in line 1, column"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "is not YAML: key `c` stands twice in line 4, column 3"),
        ("a: !!python/object:os.system {}", "is not YAML: could not determine a constructor"),
        ("a: !!bool maybe", "is not YAML: 'maybe'"),
        ("a: 2024-13-45", "is not YAML: month"),
        ("a\0b", "is not YAML"),
        ("[" * 5000, "is not YAML: .*recursion"),
        ("&a {checkpoint: *a}", r"\$.checkpoint: Expected a path"),
    ],
)
def test_what_is_no_recipe(written: Any, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe(written(text))


def test_a_recipe_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml: cannot be read: No such file"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="cannot be read: Is a directory"):
        read_recipe(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4")
    with pytest.raises(RecipeError, match="is not YAML: 'utf-8' codec"):
        read_recipe(tmp_path / "latin.yaml")


def test_paths_start_from_the_folder_of_the_recipe(
    written: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERE", "/weights")
    recipe = resolve_paths(read_recipe(written(FULL)), tmp_path / "configs")
    assert recipe.checkpoint == Path("/weights/a.pt")
    assert recipe.calibration.data == tmp_path / "configs" / "ann.json"
    assert recipe.calibration.images == tmp_path / "images"
    assert recipe.evaluation is not None
    assert (recipe.evaluation.data, recipe.evaluation.images) == (Path("/data/data.yaml"), None)


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch, written: Any) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    recipe = read_recipe(written(LEAST.replace("a.pt", "~/a.pt")))
    assert resolve_paths(recipe, Path("/other")).checkpoint == Path("/home/me/a.pt")


def test_a_home_folder_of_nobody(written: Any) -> None:
    recipe = read_recipe(written(LEAST.replace("a.pt", "~nosuch/a.pt")))
    with pytest.raises(RecipeError) as caught:
        resolve_paths(recipe, Path("/other"), where="r.yaml")
    assert str(caught.value).startswith("r.yaml: $.checkpoint: no such home folder: ~nosuch (write")


def test_what_a_shell_has_expanded_stays(tmp_path: Path, written: Any) -> None:
    recipe = read_recipe(written(LEAST.replace("a.pt", "~nosuch/${x}/a.pt")))
    found = resolve_paths(recipe, tmp_path, expand=False)
    assert found.checkpoint == tmp_path / "~nosuch" / "${x}" / "a.pt"


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set(
    monkeypatch: pytest.MonkeyPatch, written: Any, value: str | None
) -> None:
    monkeypatch.delenv("HERE", raising=False)
    if value is not None:
        monkeypatch.setenv("HERE", value)
    with pytest.raises(RecipeError, match=r"r\.yaml: \$\.checkpoint: .* HERE is not set"):
        resolve_paths(read_recipe(written(FULL)), Path("/"), where="r.yaml")


def test_a_changed_recipe_is_checked_again(written: Any) -> None:
    recipe = msgspec.structs.replace(read_recipe(written(LEAST)), batch=0)
    with pytest.raises(RecipeError, match=r"\$\.batch: Expected `int` >= 1"):
        resolve_paths(recipe, Path("/"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_of_the_project_is_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETQ_DATA", "/data")
    monkeypatch.setenv("COCO", "/coco")
    recipe = resolve_paths(read_recipe(path), path.parent, where=str(path))
    assert recipe.evaluation is not None
    assert str(recipe.checkpoint).startswith(("/data/", "/coco/"))


def test_the_recipes_of_the_test_data_name_files_that_are_there(data: Path) -> None:
    for name in ("yolov6lite_s_coco", "yolov6n_person"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DETQ_DATA", str(data))
            path = next(path for path in CONFIGS if path.stem == name)
            recipe = resolve_paths(read_recipe(path), path.parent)
        assert recipe.evaluation is not None
        for section in (recipe.calibration, recipe.evaluation):
            assert section.images is not None
            assert section.data.is_file()
            assert section.images.is_dir()
        assert recipe.checkpoint.is_file()
