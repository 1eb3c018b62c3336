import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from detq.cli.app import main
from tests.cli.calls import Called, Detq, Tiny, tree

pytest.importorskip("torch", reason="quantizing runs the network in torch")

Recipe = dict[str, Any]
EVEN = "channel_wise"
MAKE = ["float", "truth", "calibrate", EVEN, "quantize.plain", "quantize.onnxruntime"]
SCORE = [
    f"evaluate.{name}"
    for name in ("float.torch", "plain.torch", "float.onnxruntime", "onnxruntime.onnxruntime")
]
LOOK = ["layers", "gallery"]
INT8 = ["quantize.plain", "quantize.onnxruntime", SCORE[1], SCORE[3], *LOOK]


@pytest.fixture(scope="session")
def recipe(tiny: Tiny) -> Recipe:
    return {
        "checkpoint": str(tiny.checkpoint),
        "size": [64, 96],
        "calibration": {"data": str(tiny.data.train), "count": 6},
        "targets": ["plain", "onnxruntime"],
        "evaluation": {
            "data": str(tiny.data.yolo), "backends": ["torch", "onnxruntime"], "threads": 1,
        },
    }  # fmt: skip


def written(recipe: Recipe, folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture(scope="session")
def finished(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    output = folder / "run"
    assert main(["run", str(written(recipe, folder)), "--output", str(output), "--quiet"]) == 0
    return output


@pytest.fixture
def again(detq: Detq, finished: Path, tmp_path: Path) -> Callable[..., Called]:
    """Run a recipe in a copy of the finished run's folder."""
    shutil.copytree(finished, tmp_path / "run")

    def call(recipe: Recipe, *words: object) -> Called:
        return detq("run", written(recipe, tmp_path), "--output", tmp_path / "run", *words)

    return call


def redone(called: Called) -> list[str]:
    found = json.loads(called.done().out)
    return [step for step in found["steps"] if step not in found["reused"]]


def test_a_run_tells_its_steps_and_shows_its_figures(
    detq: Detq, recipe: Recipe, tmp_path: Path
) -> None:
    bench = {"backend": "onnxruntime", "rounds": 1, "threads": 1}
    path = written({**recipe, "bench": bench}, tmp_path)
    called = detq("run", path, "--output", tmp_path / "run").done()
    steps = [line.split(": ")[0] for line in called.err.splitlines()]
    assert steps == [
        f"[{n}/13] {name}" for n, name in enumerate([*MAKE, *SCORE, "bench", *LOOK], 1)
    ]
    for text in (
        "accuracy on 8 images, 0 to 1\n", "speed on ", " model.plain.onnx ", " 44 of 50 ",
    ):  # fmt: skip
        assert text in called.out, text
    assert "warning" not in called.out
    assert "kept from before" not in called.out

    figures = json.loads((tmp_path / "run/metrics.json").read_text())
    assert list(figures["accuracy"]) == [
        "float torch", "plain torch", "float onnxruntime", "onnxruntime onnxruntime",
    ]  # fmt: skip
    assert all(0.5 < found["AP50"] <= 1 for found in figures["accuracy"].values())
    agreements = [found.get("agreement") for found in figures["accuracy"].values()]
    assert agreements[0] is agreements[2] is None  # the float model's own
    for one in (agreements[1], agreements[3]):
        assert one["boxes"] > 0
        assert 0.5 < one["ap50"] <= 1
    assert "agreement with the float model, its boxes above score 0.25\n" in called.out
    assert list(figures["speed"]["timings"]) == ["float", "onnxruntime"]
    truth = json.loads((tmp_path / "run/truth.json").read_text())
    assert (truth["images"], truth["matched_by"]) == (8, "name")
    assert truth["boxes"] == sum(
        len(path.read_text().splitlines())
        for path in Path(recipe["evaluation"]["data"]).parent.glob("labels/val/*.txt")
    )


def test_the_same_run_again_keeps_every_step(again: Callable[..., Called], recipe: Recipe) -> None:
    called = again(recipe)
    lines = called.done().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["kept"] * 12
    assert f"kept from before: 12 of 12 steps ({', '.join([*MAKE, *SCORE, *LOOK])})\n" in called.out
    assert redone(again(recipe, "--json")) == []


def test_the_same_recipe_gives_the_same_bytes(
    detq: Detq, finished: Path, recipe: Recipe, tmp_path: Path
) -> None:
    detq("run", written(recipe, tmp_path), "--output", tmp_path / "run").done()
    assert lasting(tmp_path / "run") == lasting(finished)


def lasting(folder: Path) -> dict[str, str]:
    """What does not tell how long something took."""
    timed = ("learned.", "metrics.", "steps/", "manifest", "report.html")
    return {name: content for name, content in tree(folder).items() if not name.startswith(timed)}


def changed(recipe: Recipe, section: str, **values: object) -> Recipe:
    return {**recipe, section: {**recipe[section], **values}}


def without(recipe: Recipe, key: str) -> Recipe:
    return {name: value for name, value in recipe.items() if name != key}


CHANGES: dict[str, tuple[Callable[[Recipe], Recipe], list[str]]] = {
    "fewer targets": (lambda r: {**r, "targets": ["plain"]}, LOOK),
    "another target": (
        lambda r: {**r, "targets": [*r["targets"], "openvino"]}, ["quantize.openvino"],
    ),
    # By default channels are clipped as tensors are.
    "another range": (lambda r: {**r, "range": {"method": "percentile"}}, [EVEN, *INT8]),
    "float layers": (
        lambda r: {**r, "float_layers": {"backbone.stem*": "a try"}}, [EVEN, *INT8],
    ),
    "channels as they are": (lambda r: {**r, "channel_wise": None}, INT8),
    "fewer engines": (lambda r: changed(r, "evaluation", backends=["torch"]), LOOK),
    "another engine": (
        lambda r: changed(r, "evaluation", backends=["torch", "openvino"]),
        ["evaluate.float.openvino", *LOOK],
    ),
    "another protocol": (lambda r: changed(r, "evaluation", confidence=0.05), [*SCORE, "gallery"]),
    "no evaluation": (lambda r: without(r, "evaluation"), ["layers"]),
    "a bench": (
        lambda r: {**r, "bench": {"backend": "onnxruntime", "rounds": 1, "threads": 1}}, ["bench"],
    ),
    "more images": (lambda r: changed(r, "calibration", count=8), ["calibrate", EVEN, *INT8]),
    "another draw": (lambda r: changed(r, "calibration", seed=1), ["calibrate", EVEN, *INT8]),
    "another size": (lambda r: {**r, "size": [64, 64]}, [*MAKE, *SCORE, *LOOK]),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_redoes_what_depends_on_it_and_no_more(
    again: Callable[..., Called], recipe: Recipe, change: str
) -> None:
    edit, expected = CHANGES[change]
    assert redone(again(edit(recipe), "--json")) == expected


def test_other_pixels_are_other_images(
    again: Callable[..., Called], tiny: Tiny, recipe: Recipe, tmp_path: Path
) -> None:
    train = shutil.copytree(tiny.data.train, tmp_path / "train")
    moved = changed(recipe, "calibration", data=str(train))
    assert redone(again(moved, "--json")) == INT8  # which carry the recipe, with the folder
    used = json.loads((tmp_path / "run/calibration.json").read_text())["used"]
    shutil.copy(tiny.data.val / "000.jpg", train / used[0]["id"])
    assert redone(again(moved, "--json")) == ["calibrate", EVEN, *INT8]


def test_another_label_is_another_truth(
    again: Callable[..., Called], tiny: Tiny, recipe: Recipe, tmp_path: Path
) -> None:
    data = shutil.copytree(tiny.data.folder, tmp_path / "data")
    content = yaml.safe_load((data / "data.yaml").read_text())
    (data / "data.yaml").write_text(yaml.safe_dump({**content, "path": str(data)}))
    moved = changed(recipe, "evaluation", data=str(data / "data.yaml"))
    again(moved, "--json").done()
    label = data / "labels/val/000.txt"
    label.write_text(label.read_text() + "1 0.5 0.5 0.1 0.1\n")
    assert redone(again(moved, "--json")) == ["truth", *SCORE, "gallery"]


def test_options_instead_of_the_recipe(again: Callable[..., Called], recipe: Recipe) -> None:
    assert redone(again(recipe, "--json", "--size", "64x96", "--count", 6, "--seed", 0)) == []
    assert redone(again(recipe, "--json", "--count", 7)) == ["calibrate", EVEN, *INT8]


def test_images_of_the_evaluation_among_the_calibration_ones(
    detq: Detq, recipe: Recipe, tiny: Tiny, tmp_path: Path
) -> None:
    same = changed(recipe, "calibration", data=str(tiny.data.val), count=20)
    found = json.loads(
        detq("run", written({**same, "targets": ["plain"]}, tmp_path), "--output",
             tmp_path / "run", "--json").done().out
    )  # fmt: skip
    few, seen, lacks = found["warnings"]
    assert few == "calibrated on 8 images, 20 were asked for"
    assert seen.startswith("8 of 8 calibration images are evaluated on too, so the accuracy")
    assert str(tiny.data.val) in seen
    assert lacks == (
        "no INT8 model was scored in onnxruntime: onnxruntime is not among the targets"
    )
    again = detq("run", tmp_path / "recipe.yaml", "--output", tmp_path / "run").done()
    assert f"warning: {seen}\n" in again.out


def test_what_could_not_be_read_is_counted_and_named(
    detq: Detq, recipe: Recipe, tiny: Tiny, tmp_path: Path
) -> None:
    data = shutil.copytree(tiny.data.folder, tmp_path / "data")
    (data / "images/train/001.jpg").write_bytes(b"")
    (data / "images/train/002.jpg").write_bytes(b"nonsense")
    (data / "images/val/005.jpg").write_bytes(b"")
    edited = changed(recipe, "calibration", data=str(data / "images/train"), count=8)
    edited = changed(edited, "evaluation", data=str(data / "val.json"), skip_bad_images=True)
    called = detq("run", written(edited, tmp_path), "--output", tmp_path / "run", "--json")
    found = json.loads(called.done().out)
    left_out, few, unseen = found["warnings"]
    assert left_out.startswith("calibration left out 2 images: ")
    assert "001.jpg is empty" in left_out
    assert "002.jpg is not an image that can be decoded" in left_out
    assert few == "calibrated on 6 images, 8 were asked for"
    assert unseen == f"evaluation left out 1 image: {data}/images/val/005.jpg is empty"


def test_classes_that_are_matched_by_order_only(
    detq: Detq, recipe: Recipe, tiny: Tiny, tmp_path: Path
) -> None:
    data = shutil.copytree(tiny.data.folder, tmp_path / "data")
    content = json.loads((data / "val.json").read_text())
    for category in content["categories"]:
        category["name"] = f"paint {category['name']}"
    (data / "val.json").write_text(json.dumps(content))
    edited = changed(recipe, "evaluation", data=str(data / "val.json"), backends=["torch"])
    path = written({**edited, "targets": ["plain"]}, tmp_path)
    found = json.loads(detq("run", path, "--output", tmp_path / "run", "--json").done().out)
    assert found["warnings"] == [
        "classes were matched by their order, not by their names: red is category 1, "
        "green is category 2, blue is category 3"
    ]


WRONG: dict[str, tuple[Callable[[Recipe], Recipe], list[str]]] = {
    "key": (lambda r: {**r, "calibraton": {}}, ["unknown field `calibraton`", "`calibration`?"]),
    "target": (
        lambda r: {**r, "targets": ["trt"]}, ["$.targets: 'trt'", "one of trt8.4, trt8.5"],
    ),
    "backend": (
        lambda r: changed(r, "evaluation", backends=["ort"]),
        ["$.evaluation.backends: 'ort' is not known", "one of torch"],
    ),
    "bench": (lambda r: {**r, "bench": {"backend": "x"}}, ["$.bench.backend: 'x' is not known"]),
    "method": (lambda r: {**r, "range": {"method": "minmx"}}, ["$.range.method", "`minmax`?"]),
    "transform": (lambda r: {**r, "transforms": ["fold"]}, ["$.transforms[0]", "`fold_bn`?"]),
    "count": (lambda r: changed(r, "calibration", count=0), ["$.calibration.count", ">= 1"]),
    "batch": (lambda r: {**r, "batch": 0}, ["$.batch", ">= 1"]),
    "threads": (lambda r: changed(r, "evaluation", threads=0), ["$.evaluation.threads", ">= 1"]),
    "confidence": (
        lambda r: changed(r, "evaluation", confidence=2), ["$.evaluation.confidence", "< 1"],
    ),
    "variable": (
        lambda r: {**r, "checkpoint": "${NO_SUCH}/x.pt"},
        ["$.checkpoint", "environment variable NO_SUCH is not set", "export NO_SUCH=FOLDER"],
    ),
    "checkpoint": (lambda r: without(r, "checkpoint"), ["missing required field `checkpoint`"]),
}  # fmt: skip


@pytest.mark.parametrize("slip", WRONG)
def test_a_slip_in_a_recipe_is_found_before_the_first_step(
    detq: Detq, recipe: Recipe, tmp_path: Path, slip: str
) -> None:
    edit, texts = WRONG[slip]
    path = written(edit(recipe), tmp_path)
    detq("run", path, "--output", tmp_path / "run").refused(*texts)
    assert set(tree(tmp_path)) == {"recipe.yaml"}


def test_recipes_that_cannot_be_read(detq: Detq, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("size: [")
    detq("run", tmp_path / "bad.yaml", "--output", tmp_path / "run").refused(
        "bad.yaml: is not YAML"
    )
    detq("run", tmp_path / "no.yaml", "--output", tmp_path / "run").refused(
        "no.yaml: no such recipe", "detq config --explain"
    )


def test_options_and_recipe_that_do_not_go_together(
    detq: Detq, recipe: Recipe, tmp_path: Path
) -> None:
    calibration = {**recipe["calibration"], "shrink": 40}
    path = written({**recipe, "calibration": calibration}, tmp_path)
    detq("run", path, "--size", 32, "--output", tmp_path / "run").refused(
        "recipe.yaml with --size: `shrink` leaves nothing of `size`"
    )


def test_late_inputs_are_found_early(detq: Detq, recipe: Recipe, tmp_path: Path) -> None:
    edited = changed(recipe, "evaluation", data=str(tmp_path / "none.json"))
    called = detq("run", written(edited, tmp_path), "--output", tmp_path / "run")
    called.refused("none.json: no such file")
    edited = changed(recipe, "calibration", data=str(tmp_path))
    detq("run", written(edited, tmp_path), "--output", tmp_path / "run").refused("no images")
    assert set(tree(tmp_path)) == {"recipe.yaml"}


def test_a_folder_that_is_no_run_folder(detq: Detq, recipe: Recipe, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("")
    path = written(recipe, tmp_path)
    detq("run", path, "--output", mine).refused("mine: is neither empty nor", "give a new folder")
    called = detq("run", path, "--output", mine / "thesis.tex")
    called.refused("thesis.tex: cannot be a run folder: a file is in the way")
    assert set(tree(mine)) == {"thesis.tex"}


@pytest.mark.parametrize("name", ["no such file", "a folder"])
def test_a_recipe_with_a_wrong_checkpoint(
    detq: Detq, recipe: Recipe, tmp_path: Path, name: str
) -> None:
    (tmp_path / "a folder").mkdir()
    path = written({**recipe, "checkpoint": str(tmp_path / name)}, tmp_path)
    called = detq("run", path, "--output", tmp_path / "run")
    called.refused(f"{name}: no such file", "give the path of a checkpoint")
    assert set(tree(tmp_path)) == {"recipe.yaml"}
