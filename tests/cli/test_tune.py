import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.calls import Detq, Tiny

pytest.importorskip("torch", reason="quantizing runs the network in torch")

Recipe = dict[str, Any]


@pytest.fixture(scope="module")
def recipe(tiny: Tiny) -> Recipe:
    return {
        "checkpoint": str(tiny.checkpoint),
        "size": [64, 96],
        "calibration": {"data": str(tiny.data.train), "count": 4, "batch": 4},
        "targets": ["plain"],
        "channel_wise": None,
        "learn": [],
    }


@pytest.fixture(scope="module")
def scored(recipe: Recipe, tiny: Tiny) -> Recipe:
    return {**recipe, "evaluation": {"data": str(tiny.data.yolo), "threads": 1}}


def written(recipe: Recipe, folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def test_sensitivity_tells_every_layer_and_group(
    detq: Detq, recipe: Recipe, tmp_path: Path
) -> None:
    words = ["tune", written(recipe, tmp_path), "--output", tmp_path / "out", "--sensitivity",
             "--engine", "torch", "--images", 4, "--confirm", 1]  # fmt: skip
    found = json.loads(detq(*words, "--json").done().out)["sensitivity"]
    plan = json.loads((tmp_path / "out/placement.plain.json").read_text())
    int8 = [layer["node"] for layer in plan["layers"] if layer["int8"]]
    assert [layer["node"] for layer in found["layers"]] == int8
    assert {group["group"] for group in found["groups"]} == {p["group"] for p in plan["points"]}
    assert all(layer["own"] > 0 and layer["macs_share"] > 0 for layer in found["layers"])
    assert [one["what"] for one in found["confirmed"]] == ["all", "alone", "without"]
    assert all(0 <= one["agreement"] <= 1 for one in found["confirmed"])
    assert found["confirmed"][0]["head"] == pytest.approx(found["head"], rel=1e-3)

    again = detq(*words).done()
    assert "sensitivity.plain: kept" in again.err
    assert "signal over noise at the head" in again.out
    assert "run, not estimated" in again.out
    page = (tmp_path / "out/tune.html").read_text()
    assert page.count('class="bar int8"') == len(int8)
    assert int8[0] in page


def test_a_search_goes_on_and_its_recipes_make_the_same_files(
    detq: Detq, scored: Recipe, tmp_path: Path
) -> None:
    words = ["tune", written(scored, tmp_path), "--output", tmp_path / "out", "--engine", "torch",
             "--max-drop", 0.0, "--images", 4]  # fmt: skip
    first = detq(*words, "--evaluations", 3, "--json")
    tried = json.loads(first.out)["tried"]
    assert [one["what"] for one in tried][:2] == ["start", "the default recipe"]
    assert len(tried) == 3
    kept = {path.name: path.read_bytes() for path in (tmp_path / "out/tried").iterdir()}

    second = detq(*words, "--evaluations", 5, "--json")
    found = json.loads(second.out)
    assert found["tried"][:2] == tried[:2]
    assert all((tmp_path / "out/tried" / name).is_file() for name in kept)
    assert second.code == (0 if found["kept"] else 1)
    page = (tmp_path / "out/tune.html").read_text()
    assert "The budget " in page

    point = found["front"][0]
    assert yaml.safe_load((tmp_path / "out/front/01.yaml").read_text())["targets"] == ["plain"]
    detq("run", tmp_path / "out/front/01.yaml", "--output", tmp_path / "again", "--quiet").done()
    made = (tmp_path / "again/model.plain.onnx").read_bytes()
    assert sha256(made).hexdigest() == point["sha256"]


def test_without_labels_the_drop_is_one_of_agreement(
    detq: Detq, recipe: Recipe, tmp_path: Path
) -> None:
    words = ["tune", written(recipe, tmp_path), "--output", tmp_path / "out", "--engine", "torch",
             "--max-drop", 100, "--images", 4]  # fmt: skip
    called = detq(*words, "--json").done()
    (one,) = json.loads(called.out)["tried"]
    assert one["ap"] is None
    assert one["drop"] == pytest.approx(100 * (1 - one["agreement"]), abs=1e-9)
    told = detq(*words).done().out
    assert "the budget is kept by start" in told
    assert "detq run" in told


def test_what_cannot_be_tuned(detq: Detq, recipe: Recipe, tmp_path: Path) -> None:
    path = written(recipe, tmp_path)
    out = ["--output", tmp_path / "out"]
    detq("tune", path, *out).refused("nothing to reach", "--max-drop")
    detq("tune", path, *out, "--max-drop", -1).refused("--max-drop: -1 is no budget")
    detq("tune", tmp_path / "no.yaml", *out, "--max-drop", 1).refused("no such recipe")
    wrong = written({**recipe, "repquant": {}}, tmp_path)
    detq("tune", wrong, *out, "--max-drop", 1).refused("$.repquant", "not tuned")
    few = written({**recipe, "activation_bits": 4}, tmp_path)
    detq("tune", few, *out, "--max-drop", 1, "--engine", "openvino").refused(
        "$.targets: [openvino]: fewer than 8 bits are simulated"
    )
    detq("tune", path, *out, "--max-drop", 1, "--engine", "tensorrt").refused(
        "--engine tensorrt: candidates are ONNX files", "--latency-profile"
    )


def test_a_profile_of_another_model_is_refused(detq: Detq, recipe: Recipe, tmp_path: Path) -> None:
    profile = {
        "format": "detq layer profile 1", "engine": "an engine", "backend": "openvino",
        "device": "a device", "threads": 1, "batch": 1, "size": [64, 96],
        "layers": {"conv1": {"float_ms": 1.0, "int8_ms": 0.5}}, "models": [],
    }  # fmt: skip
    pytest.importorskip("detq_deploy.layer_profile", reason="no reader of profiles here")
    file = tmp_path / "jetson.json"
    words = ["tune", written(recipe, tmp_path), "--output", tmp_path / "out", "--engine", "torch",
             "--max-drop", 100, "--images", 4, "--quiet", "--latency-profile", file]  # fmt: skip
    file.write_text(json.dumps(profile))
    detq(*words).refused("jetson.json", "another model", "conv1", "backbone")
    file.write_text(json.dumps({**profile, "size": [640, 640]}))
    detq(*words).refused("for 640x640", "is for 64x96")
    detq(*words[:-1], tmp_path / "none.json").refused("none.json")


def test_a_profile_without_the_times_that_a_budget_needs_is_refused(
    detq: Detq, recipe: Recipe, tmp_path: Path
) -> None:
    pytest.importorskip("detq_deploy.layer_profile", reason="no reader of profiles here")
    profile = {
        "format": "detq layer profile 1", "engine": "an engine", "backend": "openvino",
        "device": "a device", "threads": 1, "batch": 1, "size": [64, 96], "layers": {},
    }  # fmt: skip

    def model(int8: bool) -> dict[str, Any]:
        layer = {"name": "conv1", "ms": 1.0, "int8": int8, "kernels": []}
        return {"path": "x.onnx", "total_ms": 2.0, "runs": 1, "layers": [layer], "others": []}

    file = tmp_path / "jetson.json"
    words = ["tune", written(recipe, tmp_path), "--output", tmp_path / "out", "--sensitivity",
             "--latency-profile", file]  # fmt: skip
    remedy = "make it of FLOAT and INT8"
    file.write_text(json.dumps({**profile, "models": [model(int8=False)]}))
    for limit in ("--max-latency-ms", "--min-speedup"):
        detq(*words, limit, 1).refused("jetson.json: has no time of a whole INT8", limit, remedy)
    file.write_text(json.dumps({**profile, "models": [model(int8=True)]}))
    detq(*words, "--min-speedup", 1).refused("no time of a whole FLOAT", "--min-speedup", remedy)
    assert not (tmp_path / "out/float.onnx").exists()  # refused before anything was made


def profile_of(folder: Path) -> dict[str, Any]:
    """Every layer 2 ms in float and 1 ms in INT8, whatever engine."""
    from detq.graph.files import detector_from_metadata, load_model
    from detq.model import FloatModel
    from detq.tune.costs import macs_shares

    graph = load_model(folder / "float.onnx")
    model = FloatModel(graph, detector_from_metadata(graph.metadata_props, ""))
    times = {layer: {"float_ms": 2.0, "int8_ms": 1.0} for layer in macs_shares(model)}
    both = [
        {
            "path": f"{int8}.onnx", "total_ms": ms, "runs": 1, "others": [],
            "layers": [{"name": name, "ms": 1.0, "int8": int8, "kernels": []} for name in times],
        }
        for int8, ms in ((False, 2.0 * len(times)), (True, 1.0 * len(times)))
    ]  # fmt: skip
    return {
        "format": "detq layer profile 1", "engine": "an engine", "backend": "openvino",
        "device": "a device", "threads": 1, "batch": 1, "size": [64, 96],
        "layers": times, "models": both,
    }  # fmt: skip


def test_a_profile_predicts_latency_and_time_is_spent_on_accuracy(
    detq: Detq, recipe: Recipe, tiny: Tiny, tmp_path: Path
) -> None:
    profile = profile_of(tiny.models)
    count = len(profile["layers"])
    (tmp_path / "jetson.json").write_text(json.dumps(profile))
    words = ["tune", written(recipe, tmp_path), "--output", tmp_path / "out", "--engine", "torch",
             "--images", 2, "--latency-profile", tmp_path / "jetson.json"]  # fmt: skip
    called = detq(*words, "--max-latency-ms", count + 3.5, "--evaluations", 15, "--json").done()
    found = json.loads(called.out)
    for one in found["tried"]:
        layers = len(one["float_layers"])
        assert one["latency_ms"] == pytest.approx(count + layers, abs=1e-6)
        assert one["speedup"] == pytest.approx(2 * count / (count + layers), abs=1e-6)
    fast = [one for one in found["tried"] if one["latency_ms"] <= count + 3.5]
    assert max(len(one["float_layers"]) for one in fast) == 3
    assert found["best"] == min(fast, key=lambda one: (one["drop"], one["latency_ms"]))

    slow = detq(*words, "--max-latency-ms", count - 1, "--evaluations", 15)
    assert slow.code == 1
    assert "the budget cannot be kept; nearest comes" in slow.out

    profile["models"][1]["total_ms"] += 1
    (tmp_path / "jetson.json").write_text(json.dumps(profile))  # what it told before is no answer
    called = detq(*words, "--max-latency-ms", count + 1, "--evaluations", 1, "--json").done()
    assert json.loads(called.out)["best"]["latency_ms"] == pytest.approx(count + 1, abs=1e-6)


def test_candidates_are_timed_on_the_engine_at_hand(
    detq: Detq, recipe: Recipe, tmp_path: Path
) -> None:
    timed = {**recipe, "bench": {"backend": "onnxruntime", "rounds": 1, "threads": 1}}
    words = ["tune", written(timed, tmp_path), "--output", tmp_path / "out", "--images", 2]
    called = detq(*words, "--min-speedup", 1000, "--evaluations", 1, "--json")
    assert called.code == 1
    found = json.loads(called.out)
    assert (found["engine"], found["label"]) == ("onnxruntime", "onnxruntime")
    assert found["best"]["latency_ms"] > 0
    assert 0 < found["best"]["speedup"] < 1000
