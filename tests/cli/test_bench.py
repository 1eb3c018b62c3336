import json
from pathlib import Path

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


def test_what_cannot_be_timed(detq: Detq, tiny: Tiny, tmp_path: Path) -> None:
    detq("bench", tmp_path / "no.onnx").refused("no.onnx: no such file")
    (tmp_path / "broken.onnx").write_text("not ONNX")
    detq("bench", tmp_path / "broken.onnx").refused("broken.onnx: is not an ONNX file")
    called = detq("bench", tiny.model("float"), "--size", "32", "--rounds", 1)
    called.refused("float.onnx: takes images of any x 3 x 64 x 96")
