from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("torch", reason="the steps run the network in torch")

from detq.dialects import write_float
from detq.errors import DatasetError, InputError, RecipeError
from detq.graph.files import load_model
from detq.model import FloatModel
from detq.pipeline import Outcome, Tools, run
from detq.pipeline.cautions import cautions
from detq.pipeline.measure import evaluations
from detq.quantized import weights_of
from detq.recipe import Bench, Calibration, Evaluation, Kl, MinMax, Percentile, Recipe, Weights
from detq.recipe_file import recipe_as_json
from detq.run_dir import RunDir
from detq.target import PLAIN, Kernels, Target
from detq_deploy.targets import TENSORRT
from tests.tiny_dataset import SIZE, TinyDataset, tiny_dataset
from tests.zoo import tiny_detector

CPU = Target("onnxruntime", unsigned_activations=True)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> TinyDataset:
    return tiny_dataset(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def recipe(pictures: TinyDataset, tmp_path: Path) -> Recipe:
    checkpoint = tmp_path / "x.pt"
    checkpoint.write_bytes(b"the zoo's")
    return Recipe(
        checkpoint=checkpoint,
        size=SIZE,
        calibration=Calibration(data=pictures.train, count=3),
        targets=("plain", "onnxruntime"),
        evaluation=Evaluation(data=pictures.coco, backends=("torch", "onnxruntime")),
        bench=Bench(backend="onnxruntime"),
    )


class Around:
    """What lies above the pipeline: a network of the zoo, and figures without an engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self.engine = "1.0"
        self.consumer = CPU
        self.evaluated: list[tuple[str, str]] = []
        self.timed: list[list[str]] = []

    def __call__(self, recipe: Recipe) -> Outcome:
        tools = Tools(
            read_source=lambda path, size: tiny_detector(size=size),
            target_named=lambda name: PLAIN if name == "plain" else self.consumer,
            engine_here=lambda name: f"{name} {self.engine}" if name != "plain" else name,
            truth_files=lambda options: [options.data],
            read_truth=self._truth,
            evaluate=self._evaluate,
            bench=self._bench,
            gallery=lambda options, wanted, got, names, of: {"of": of},
            report=lambda folder: f"<title>{folder.name}</title>",
            note=self.notes.append,
            progress=self._progress,
        )
        with RunDir(self.folder) as folder:
            return run(recipe, folder, tools)

    def _truth(self, options: Evaluation, names: Sequence[str]) -> Mapping[str, Any]:
        return {"matched_by": "name", "classes": list(enumerate(names))}

    def _evaluate(
        self, file: Path, backend: str, options: Evaluation, boxes: Path, reference: Path | None
    ) -> Mapping[str, Any]:
        assert file.is_file()
        of_float = f"detections.float.{backend}.json"
        assert reference == (None if file.name == "float.onnx" else boxes.parent / of_float)
        self.evaluated.append((file.name, backend))
        boxes.write_text("[]")
        return {"AP": 0.5, "skipped": []}

    def _bench(self, files: Mapping[str, Path], options: Bench) -> Mapping[str, Any]:
        self.timed.append(list(files))
        return {"timings": {}}

    @contextmanager
    def _progress(self, text: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda done: None


@pytest.fixture
def around(tmp_path: Path) -> Around:
    return Around(tmp_path / "run")


def redone(outcome: Outcome) -> list[str]:
    return [step.name for step in outcome.steps if not step.reused]


STEPS = ["float", "truth", "calibrate", "channel_wise", "quantize.plain", "quantize.onnxruntime",
         "evaluate.float.torch", "evaluate.plain.torch", "evaluate.float.onnxruntime",
         "evaluate.onnxruntime.onnxruntime", "bench", "layers", "gallery"]  # fmt: skip


def test_every_step_in_its_order_with_what_it_is_about(around: Around, recipe: Recipe) -> None:
    assert redone(around(recipe)) == STEPS
    places = [note.split(": ")[0] for note in around.notes]
    assert places == [f"[{n}/{len(STEPS)}] {step}" for n, step in enumerate(STEPS, 1)]
    assert around.notes[2] == "[3/13] calibrate: look at 3 images"
    assert around.evaluated == [
        ("float.onnx", "torch"), ("model.plain.onnx", "torch"),
        ("float.onnx", "onnxruntime"), ("model.onnxruntime.onnx", "onnxruntime"),
    ]  # fmt: skip
    assert around.timed == [["float", "onnxruntime"]]


def test_figures_are_what_the_folder_holds(around: Around, recipe: Recipe) -> None:
    outcome = around(recipe)
    kept = msgspec.json.decode((around.folder / "metrics.json").read_bytes())
    assert kept == msgspec.to_builtins(outcome.figures)
    assert kept["files"] == {
        "float": "float.onnx", "plain": "model.plain.onnx", "onnxruntime": "model.onnxruntime.onnx",
    }  # fmt: skip
    assert set(kept["layers"]) == {"plain", "onnxruntime"}
    assert all((around.folder / file).is_file() for file in kept["files"].values())
    manifest = msgspec.json.decode((around.folder / "manifest.json").read_bytes())
    assert manifest["recipe"] == msgspec.json.decode(recipe_as_json(recipe))


def test_sections_that_are_left_out_are_no_steps(around: Around, recipe: Recipe) -> None:
    bare = msgspec.structs.replace(recipe, evaluation=None, bench=None, channel_wise=None)
    outcome = around(bare)
    assert redone(outcome) == [
        "float", "calibrate", "quantize.plain", "quantize.onnxruntime", "layers"
    ]  # fmt: skip
    assert outcome.figures["accuracy"] == {} == outcome.figures["speed"]
    assert around.notes[-1].startswith("[5/5] ")


def test_another_engine_redoes_what_was_tried_and_measured_on_it(
    around: Around, recipe: Recipe
) -> None:
    around(recipe)
    around.engine = "1.1"
    assert redone(around(recipe)) == STEPS[5:]


def test_twice_the_same_target_is_one(around: Around, recipe: Recipe) -> None:
    twice = msgspec.structs.replace(recipe, targets=("plain", "onnxruntime", "plain"))
    assert redone(around(twice)) == STEPS


@pytest.mark.parametrize(
    ("targets", "backends", "pairs"),
    [
        (["plain"], ["torch"], [("float", "torch"), ("plain", "torch")]),
        (["plain"], ["openvino"], [("float", "openvino")]),
        (["openvino"], ["openvino", "torch", "openvino"],
         [("float", "openvino"), ("openvino", "openvino"), ("float", "torch")]),
    ],
)  # fmt: skip
def test_which_files_are_scored_where(
    recipe: Recipe, targets: list[str], backends: list[str], pairs: list[tuple[str, str]]
) -> None:
    assert recipe.evaluation is not None
    evaluation = msgspec.structs.replace(recipe.evaluation, backends=tuple(backends))
    changed = msgspec.structs.replace(recipe, targets=tuple(targets), evaluation=evaluation)
    assert evaluations(changed) == pairs
    assert evaluations(msgspec.structs.replace(recipe, evaluation=None)) == []


def test_a_wrong_truth_stops_before_the_images_are_looked_at(
    around: Around, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(options: Evaluation, names: Sequence[str]) -> Mapping[str, Any]:
        assert list(names) == ["a", "b", "c"]
        raise DatasetError("has 5 classes, the model 3")

    with monkeypatch.context() as patch:
        patch.setattr(around, "_truth", refuse)
        with pytest.raises(DatasetError, match="has 5 classes"):
            around(recipe)
    assert not (around.folder / "stats.npz").exists()
    assert redone(around(recipe)) == STEPS[1:]


def test_a_wrong_pattern_stops_before_the_images_are_looked_at(
    around: Around, recipe: Recipe
) -> None:
    wrong = msgspec.structs.replace(recipe, float_layers={"nothing*": "a slip"})
    with pytest.raises(RecipeError, match=r"pattern 'nothing\*' matches no layer"):
        around(wrong)
    assert not (around.folder / "stats.npz").exists()
    around(recipe)
    with pytest.raises(RecipeError, match=r"pattern 'nothing\*' matches no layer"):
        around(wrong)


def test_figures_of_an_earlier_run_do_not_outlive_a_change(
    around: Around, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> Mapping[str, Any]:
        raise InputError("no engine")

    around(recipe)
    monkeypatch.setattr(around, "_bench", fail)
    changed = msgspec.structs.replace(recipe, bench=Bench(backend="onnxruntime", rounds=2))
    with pytest.raises(InputError):
        around(changed)
    assert not (around.folder / "metrics.json").exists()
    assert (around.folder / "speed.json").exists()  # whole, and not of this run


def test_how_to_round_is_the_files_business_and_not_the_statistics(
    around: Around, recipe: Recipe
) -> None:
    # With the default, mse, channels are clipped, too.
    usual = msgspec.structs.replace(
        recipe, targets=("plain",), range=MinMax(), evaluation=None, bench=None
    )
    around(usual)
    file = around.folder / "model.plain.onnx"
    found = {constants(file)}
    for change in (
        {"range": Percentile(percent=90)},
        {"range": Kl(divergence="masked")},
        {"weights": Weights(bits=4)},
        {"weights": Weights(bits=4, method="mse")},
        {"activation_bits": 6},
        {"weights": Weights(per_tensor=True, bits=5)},
    ):
        steps = redone(around(msgspec.structs.replace(usual, **change)))
        assert steps[-2:] == ["quantize.plain", "layers"]
        # What channels gain is measured on the grids, not on the ranges.
        assert steps[:-2] in ([], ["channel_wise"])
        assert not steps[:-2] or "range" not in change
        found.add(constants(file))
    assert len(found) == 7
    for name, codes, scale in weights_of(load_model(file)):
        assert (int(abs(codes).max()), scale.ndim) == (15, 0), name


def constants(file: Path) -> bytes:
    values = load_model(file).graph.initializers.values()
    found = (value.const_value for value in values)
    return b"".join(tensor.numpy().tobytes() for tensor in found if tensor is not None)


def test_the_float_file_is_the_merged_network(around: Around, recipe: Recipe) -> None:
    from detq.transforms import transform

    around(recipe)
    source = tiny_detector(size=SIZE)
    wanted: FloatModel = transform(source, recipe.transforms)
    found = load_model(around.folder / "float.onnx")
    assert [n.name for n in found.graph] == [n.name for n in write_float(wanted).graph]
    apart = load_model(around.folder / "source.onnx")
    assert [n.name for n in apart.graph] == [n.name for n in source.graph.graph]


def test_what_was_decided_is_left_for_every_target(around: Around, recipe: Recipe) -> None:
    figures = around(recipe).figures
    record = msgspec.json.decode((around.folder / "explain.plain.json").read_bytes())
    layers = record["layers"]
    assert sum(layer["int8"] for layer in layers) == figures["layers"]["plain"]["int8"]
    assert figures["boundaries"]["plain"] == {"into_int8": 1, "out": 6, "islands": 6}
    assert (record["target"], record["opset"], record["any_batch"]) == ("plain", 17, True)


def test_an_open_batch_is_told_for_tensorrt(around: Around, recipe: Recipe) -> None:
    text = (
        "TensorRT asks for a profile of shapes where the batch is open: give it one, or fix the "
        "batch (--batch 1, in a recipe batch: 1)"
    )
    plain = msgspec.structs.replace(recipe, evaluation=None, bench=None)
    assert text not in around(plain).figures["warnings"]
    around.consumer, around.engine = TENSORRT["trt10.3"], "2.0"
    assert text in around(plain).figures["warnings"]
    assert text not in around(msgspec.structs.replace(plain, batch=1)).figures["warnings"]


def test_files_of_an_earlier_call_are_told(around: Around, recipe: Recipe) -> None:
    both = msgspec.structs.replace(
        recipe, evaluation=None, bench=None, targets=("plain", "openvino")
    )
    assert not any("earlier" in line for line in around(both).figures["warnings"])
    one = msgspec.structs.replace(both, targets=("plain",))
    (line,) = (line for line in around(one).figures["warnings"] if "earlier" in line)
    assert line == (
        "an earlier call left 1 file: model.openvino.onnx, which this one did not make again"
    )


def test_a_file_that_stays_float_says_why(around: Around, recipe: Recipe) -> None:
    plain = msgspec.structs.replace(recipe, evaluation=None, bench=None, targets=("onnxruntime",))
    assert not any("float: such as" in line for line in around(plain).figures["warnings"])
    kernels = Kernels(least_products=10_000)
    around.consumer, around.engine = replace(CPU, engine="onnxruntime", kernels=kernels), "2.0"
    (line,) = (x for x in around(plain).figures["warnings"] if "float: such as" in x)
    assert line.startswith("model.onnxruntime.onnx keeps 36 of 44 layers float: such as ")
    assert "no faster in onnxruntime: 27 products per number, rounding pays from 10000" in line


def test_a_scale_that_is_far_too_wide_is_told(around: Around, recipe: Recipe) -> None:
    plain = msgspec.structs.replace(recipe, evaluation=None, bench=None, targets=("plain",))
    around(plain)
    file = around.folder / "explain.plain.json"
    record = msgspec.json.decode(file.read_bytes())
    tie = {"group": "g", "value": "x", "bits_lost": 3.25, "readers": ["conv"]}
    record["ties"] = [tie, {**tie, "value": "y", "readers": []}]
    file.write_bytes(msgspec.json.encode(record))
    with RunDir(around.folder) as folder:
        told = [text for text in cautions(plain, folder, {}) if "scale" in text]
    assert told == [
        "a shared scale is far too wide for 1 tensor: x loses 3.2 bits for conv (see cut_ties)"
    ]
