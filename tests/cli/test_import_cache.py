import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from detq.graph.files import load_model
from detq.quantized import scales_of
from tests.cli.calls import Detq, Tiny, tree

pytest.importorskip("torch", reason="the files are made with torch")


@pytest.fixture
def stripped(detq: Detq, tiny: Tiny, tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    words = ["export", tiny.model("model.plain"), "--target", "trt8.5", "--strip", "--batch", 1]
    detq(*words, "--output", path).done()
    return path


def test_what_was_stripped_comes_back(detq: Detq, tiny: Tiny, stripped: Path) -> None:
    out = stripped.with_name("q.onnx")
    told = (
        detq("import-cache", stripped, stripped.with_suffix(".cache"), "--output", out).done().out
    )
    assert "q.onnx: 44 of 50 layers INT8, for plain\n" in told
    onnx.checker.check_model(str(out), full_check=True)
    wanted = scales_of(load_model(tiny.model("model.plain")))
    found = scales_of(load_model(out))
    assert {k: np.float32(v) for k, v in found.items()} == {
        k: np.float32(v) for k, v in wanted.items()
    }


def test_straight_into_a_dialect(detq: Detq, stripped: Path) -> None:
    out = stripped.with_name("q.onnx")
    words = ["import-cache", stripped, stripped.with_suffix(".cache"), "--output", out]
    found = json.loads(detq(*words, "--target", "trt11.4", "--json").done().out)
    assert found["target"] == "trt11.4"
    assert sum(layer["int8"] for layer in found["record"]["layers"]) == 44
    assert load_model(out).opset_imports[""] == 19
    told = detq(*words, "--explain").done().out
    assert "weights are constant" in told


def test_what_is_no_cache(detq: Detq, tiny: Tiny, stripped: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    words = ["--output", tmp_path / "q.onnx"]
    detq("import-cache", stripped, stripped, *words).refused("m.onnx: is not text")
    detq("import-cache", stripped, tmp_path / "no", *words).refused("no: cannot be read: No such")
    assert tree(tmp_path) == before
    other = tmp_path / "other.cache"
    other.write_text("TRT-8502-EntropyCalibration2\nx: 3c010204\n")
    detq("import-cache", stripped, other, *words).refused(
        "cache: none of its 1 tensors is in the network (give the network that the cache was made"
    )
