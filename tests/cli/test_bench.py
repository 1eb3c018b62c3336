import json
from pathlib import Path

from detq.cli.bench import _contenders
from detq_deploy.layer_profile import read_profile
from tests.cli.calls import Detq, Tiny


def test_every_file_on_every_engine(detq: Detq, tiny: Tiny) -> None:
    files = tiny.model("float"), tiny.model("model.onnxruntime")
    words = ["bench", *files, "--rounds", 2, "--threads", 1]
    called = detq(*words, "--backend", "onnxruntime", "--json").done()
    found = json.loads(called.out)
    assert [Path(timing["path"]).name for timing in found["timings"]] == [f.name for f in files]
    assert found["rounds"] == 2
    assert found["timings"][0]["speedup"]["median"] == 1
    for timing in found["timings"]:
        assert 0 < timing["wall_ms"]["p10"] <= timing["wall_ms"]["median"]
        assert timing["size"] == [64, 96]
    text = detq("bench", tiny.model("float"), "--rounds", 1).done().out
    assert "float.onnx ONNX Runtime " in text
    assert "ms per image" in text


def test_layers_and_pictures(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    files = tiny.model("float"), tiny.model("model.openvino")
    profile = tmp_path / "profile.json"
    words = ["bench", *files, "--backend", "openvino", "--rounds", 1, "--threads", 1, "--batch", 2]
    words += ["--end-to-end", tiny.data.val, "--profile", profile]
    found = json.loads(detq(*words, "--json").done().out)
    told = [(timing["batch"], bool(timing["step"])) for timing in found["timings"]]
    assert told == [(2, step) for step in (False, False, True, True)]
    assert (found["gpu"], found["timings"][0]["gpu_ms"]) == ([], None)
    layers = read_profile(profile).layers
    assert len(layers) == 50
    measured = [cost for cost in layers.values() if cost.int8_ms is not None]
    assert len(measured) == 42  # as many as run in INT8
    assert all(cost.float_ms is not None for cost in layers.values())


def test_every_batch_and_graphs_where_there_are_any() -> None:
    onnx, engine = Path("a.onnx"), Path("b.engine")
    found = _contenders([onnx, engine], ["openvino"], [1, 8], None, True, 2)
    assert [(c.path, c.backend, c.batch, c.cuda_graph, c.threads) for c in found] == [
        (path, backend, batch, path is engine, 2)
        for batch in (1, 8)
        for path, backend in ((onnx, "openvino"), (engine, "tensorrt"))
    ]


def test_what_cannot_be_timed(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    detq("bench", tmp_path / "no.onnx").refused("no.onnx: no such file")
    (tmp_path / "broken.onnx").write_text("not ONNX")
    detq("bench", tmp_path / "broken.onnx").refused("broken.onnx: is not an ONNX file")
    called = detq("bench", tiny.model("float"), "--size", "32", "--rounds", 1)
    called.refused("float.onnx: takes images of any x 3 x 64 x 96")
    two = ["--backend", "openvino", "--backend", "onnxruntime", "--profile", tmp_path / "p.json"]
    detq("bench", tiny.model("float"), *two).refused("--profile: is of one backend")
    words = ["--backend", "torch", "--profile", tmp_path / "p.json"]
    detq("bench", tiny.model("float"), *words).refused("torch does not tell the time of a layer")
